"""Connectors: kept with their credentials' names, and with one tool that says what it was asked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.mistral_errors import invalid
from mistral_cf_adapter.testing.mistral_store import MOMENT, OWNER, Resource, number, picked
from mistral_cf_adapter.testing.responses import Response, json_response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

    Card = dict[str, Any]

ROOT = "/v1/connectors"
ONE = f"{ROOT}/{{}}"
SCOPES = {"organization": "org", "workspace": "workspace", "user": "user"}
"""Part of the path -> what the API calls it elsewhere."""
CHANGES = frozenset({"name", "title", "description", "icon_url", "system_prompt", "server"})
TOOL: Card = {
    "name": "echo",
    "description": "Says what it was asked",
    "inputSchema": {"type": "object", "properties": {}},
}
MAX_CREDENTIALS = 1000


@dataclass(slots=True)
class Connectors:
    """The connectors of one upstream, by id or name."""

    cards: Resource = field(init=False)
    credentials: dict[tuple[str, str, str], Card] = field(
        default_factory=dict[tuple[str, str, str], dict[str, Any]]
    )
    """Connector's id, scope and name -> what the API says of them; no secret is kept."""

    def __post_init__(self) -> None:
        self.cards = Resource(
            ROOT,
            make=_card,
            page=_page,
            deleted=lambda _: _message("Connector deleted"),
            required=("name", "description", "server"),
            changes=CHANGES,
            created_status=201,
        )

    def add_to(self, routes: Routes) -> None:
        """Serve what is under /v1/connectors."""
        self.cards.add_to(routes)
        routes.add(f"GET {ONE}", self.show)
        routes.add(f"GET {ONE}/auth_url", self.show_auth_url)
        routes.add(f"GET {ONE}/authentication_methods", self.list_methods)
        routes.add(f"GET {ONE}/tools", self.list_tools)
        routes.add(f"POST {ONE}/tools/{{}}/call", self.call_tool)
        for operation in ("PUT {}/share", "DELETE {}/share"):
            routes.add(operation.format(ONE), self.acknowledge)
        for end in ("activate", "deactivate"):
            routes.add(f"POST {ONE}/{{}}/{end}", self.acknowledge)
        credentials = f"{ONE}/{{}}/credentials"
        routes.add(f"GET {credentials}", self.list_credentials)
        for method in ("POST", "PATCH"):
            routes.add(f"{method} {credentials}", self.set_credentials, required=("name",))
        routes.add(f"DELETE {credentials}", self.delete_credentials)
        routes.add(f"DELETE {credentials}/{{}}", self.delete_credentials)

    def show(self, _: ReceivedRequest, name: str) -> Response | None:
        """Show one connector."""
        card = self._find(name)
        return None if card is None else json_response(card)

    def acknowledge(self, _: ReceivedRequest, name: str, *_scope: str) -> Response | None:
        """Say that it is done, and change nothing."""
        return None if self._find(name) is None else _message("Done")

    def show_auth_url(self, _: ReceivedRequest, name: str) -> Response | None:
        """Return a URL for a browser, of which only the shape is right."""
        card = self._find(name)
        if card is None:
            return None
        return json_response({"auth_url": f"{card['server']}/authorize", "ttl": 600})

    def list_methods(self, _: ReceivedRequest, name: str) -> Response | None:
        """Say that no authentication is needed."""
        if self._find(name) is None:
            return None
        return json_response([{"method_type": "none", "has_default_credentials": True}])

    def list_tools(self, _: ReceivedRequest, name: str) -> Response | None:
        """List the one tool."""
        return None if self._find(name) is None else json_response([TOOL])

    def call_tool(self, request: ReceivedRequest, name: str, tool: str) -> Response | None:
        """Let a tool, whatever its name, say what it was asked."""
        if self._find(name) is None:
            return None
        text = f"{tool}: {json.dumps(request.fields.get('arguments'))}"
        return json_response({"content": [{"type": "text", "text": text}]})

    def list_credentials(self, _: ReceivedRequest, name: str, scope: str) -> Response | None:
        """List the names of the credentials of one scope."""
        card = self._find(name)
        if card is None or scope not in SCOPES:
            return None
        mine = (card["id"], scope)
        found = [each for key, each in self.credentials.items() if key[:2] == mine]
        return json_response({"credentials": found})

    def set_credentials(self, request: ReceivedRequest, name: str, scope: str) -> Response | None:
        """Keep the name of credentials."""
        card = self._find(name)
        if card is None or scope not in SCOPES:
            return None
        if len(self.credentials) >= MAX_CREDENTIALS:
            return invalid("too_large", ["body", "name"], "LocalGateway's limit")
        fields = request.fields
        own = str(fields["name"])
        self.credentials[card["id"], scope, own] = {
            "name": own,
            "authentication_type": "bearer",
            "scope": SCOPES[scope],
            "is_default": fields.get("is_default") is True,
        }
        return _message("Credentials saved")

    def delete_credentials(
        self, _: ReceivedRequest, name: str, scope: str, own: str | None = None
    ) -> Response | None:
        """Forget credentials by name, or all of one scope."""
        card = self._find(name)
        if card is None or scope not in SCOPES:
            return None
        mine = [key for key in self.credentials if key[:2] == (card["id"], scope)]
        gone = [key for key in mine if own in (None, key[2])]
        for key in gone:
            del self.credentials[key]
        return _message("Credentials deleted") if gone or own is None else None

    def _find(self, name: str) -> Card | None:
        by_name = (card for card in self.cards.kept if card["name"] == name)
        return self.cards.kept.get(name) or next(by_name, None)


def _card(request: ReceivedRequest, identity: str) -> Card:
    return {
        "protocol": "mcp",
        "visibility": "shared_workspace",
        **picked(request.fields, CHANGES | {"visibility"}),
        "id": identity,
        "created_at": MOMENT,
        "modified_at": MOMENT,
        "owner_id": OWNER,
        "owner_type": "workspace",
        "private_tool_execution": False,
        "supports_mcp": True,
        "active": True,
        "is_authenticated": True,
    }


def _page(cards: Sequence[Card], params: Mapping[str, str]) -> Card:
    """Return the connectors after the `cursor`, which is a number here."""
    size = max(number(params.get("page_size"), 100), 1)
    start = number(params.get("cursor"), 0)
    following = str(start + size) if start + size < len(cards) else None
    pagination = {"next_cursor": following, "page_size": size}
    return {"items": cards[start : start + size], "pagination": pagination}


def _message(text: str) -> Response:
    return json_response({"message": text})
