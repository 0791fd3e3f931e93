"""Where what was done is noted."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, model_validator

from pipeline.config.section import Section

_FORM = "postgresql://USER@HOST:PORT/DATABASE"


class Metadata(Section):
    """Where ML Metadata notes what was done."""

    postgresql: str | None = Field(
        None,
        description=f"`{_FORM}` of a database for this workspace alone, in place of a file in it; "
        "the password comes from `PGPASSWORD` or `~/.pgpass`. See docs/scale.md.",
    )

    # After, and of the section: what is told of an option repeats its value, password and all.
    @model_validator(mode="after")
    def _without_password(self) -> Metadata:
        if self.postgresql is None:
            return self
        try:
            parts = urlsplit(self.postgresql)
            port = parts.port
        except ValueError:
            raise ValueError(f"postgresql must be written as {_FORM}") from None
        if parts.password is not None:
            raise ValueError(
                "postgresql has a password in it, which would be in every copy of the config; put "
                "it into the environment as PGPASSWORD, or into ~/.pgpass, and take it out of the "
                "config"
            )
        whole = parts.username and parts.hostname and parts.path.strip("/")
        if parts.scheme not in ("postgresql", "postgres") or not whole or "/" in parts.path[1:]:
            raise ValueError(f"postgresql must be written as {_FORM}")
        if parts.query or parts.fragment:
            raise ValueError(
                f"postgresql must be written as {_FORM}, without options; libpq takes them from "
                "the environment (PGCONNECT_TIMEOUT, PGOPTIONS, ...)"
            )
        self.postgresql = (
            f"postgresql://{parts.username}@{_bracketed(parts.hostname)}:{port or 5432}{parts.path}"
        )
        return self


def _bracketed(host: str | None) -> str:
    return f"[{host}]" if host and ":" in host else str(host)
