"""The analyses: one file each, discovered by `cohortium.analysis.registry`. `numerics/` holds what several share."""
