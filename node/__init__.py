"""The program that runs at a cohort holder: answers approved questions from its own data, and nothing else."""
