"""What all tables of settings have in common."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """Settings that belong together: frozen, no unknown names, and no value in an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )
