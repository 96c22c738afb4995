"""Whose key it is: one user of one workspace of one organization."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_cf_adapter.testing.mistral_store import OWNER
from mistral_cf_adapter.testing.responses import Response, json_response

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

ROOT = "/v1/users/me"


def add_to(routes: Routes) -> None:
    """Serve what is under /v1/users/me."""
    routes.add(f"GET {ROOT}", show_user)
    routes.add(f"GET {ROOT}/organizations", list_organizations)
    routes.add(f"GET {ROOT}/workspaces", list_workspaces)


def show_user(_: ReceivedRequest) -> Response:
    """Show whose key it is."""
    me = {"id": OWNER, "email": "user@example.com", "first_name": "Local", "last_name": "User"}
    return json_response(me)


def list_organizations(_: ReceivedRequest) -> Response:
    """List the one organization."""
    return json_response({"organizations": [{"id": OWNER, "name": "Local"}]})


def list_workspaces(_: ReceivedRequest) -> Response:
    """List the one workspace."""
    workspace = {"id": OWNER, "name": "Local", "organization_id": OWNER}
    return json_response({"workspaces": [workspace]})
