"""What several analyses share: design matrices, likelihoods, the Newton loop, life tables, pictures."""
