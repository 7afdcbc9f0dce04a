"""A chi-squared test as a result."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ChiSquared(BaseModel):
    """A chi-squared test."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    statistic: float = Field(description="Chi-squared statistic.")
    df: int = Field(description="Degrees of freedom.")
    p_value: float = Field(description="Probability of a larger statistic.")

    @classmethod
    def of(cls, statistic: float, df: int) -> ChiSquared:
        """The test of a statistic."""
        from scipy import special  # noqa: PLC0415 - a client, which only reads results, does without

        return cls(statistic=statistic, df=df, p_value=float(special.chdtrc(df, max(statistic, 0.0))))
