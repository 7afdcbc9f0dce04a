"""What holds for all tests."""

from hypothesis import settings

# Tests run side by side on busy machines: a slow example says nothing about the code.
settings.register_profile("cohortium", deadline=None)
settings.load_profile("cohortium")
