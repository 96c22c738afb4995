"""Agents with their versions and the aliases of versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.mistral_errors import invalid, missing
from mistral_cf_adapter.testing.mistral_store import MOMENT, Store, no_content, page_of, picked
from mistral_cf_adapter.testing.responses import Response, json_response

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

    Card = dict[str, Any]

ROOT = "/v1/agents"
MAX_ALIASES = 100
FIELDS = frozenset(
    {
        *("model", "name", "instructions", "tools", "completion_args", "guardrails"),
        *("description", "handoffs", "metadata", "version_message"),
    }
)


@dataclass(slots=True)
class Agent:
    """One agent: its versions by number, and the one that is in use."""

    versions: Store[Card]
    current: str
    aliases: dict[str, Card] = field(default_factory=dict[str, dict[str, Any]])

    def card(self, version: str | None = None) -> Card | None:
        """Return a version, by number or alias, as the API shows it; None if there is none."""
        wanted = self.current if version is None else version
        if wanted in self.aliases:
            wanted = str(self.aliases[wanted]["version"])
        card = self.versions.get(wanted)
        numbers = [version["version"] for version in self.versions]
        return None if card is None else {**card, "versions": numbers}


@dataclass(slots=True)
class Agents:
    """The agents of one upstream."""

    kept: Store[Agent] = field(default_factory=lambda: Store[Agent](ROOT))

    def add_to(self, routes: Routes) -> None:
        """Serve what is under /v1/agents, but for completions."""
        routes.add(f"POST {ROOT}", self.create, required=("model", "name"))
        routes.add(f"GET {ROOT}", self.list_all)
        routes.add(f"GET {ROOT}/pages", self.list_pages)
        routes.add(f"GET {ROOT}/{{}}", self.show)
        routes.add(f"PATCH {ROOT}/{{}}", self.update)
        routes.add(f"DELETE {ROOT}/{{}}", self.delete)
        routes.add(f"PATCH {ROOT}/{{}}/version", self.switch)
        routes.add(f"GET {ROOT}/{{}}/versions", self.list_versions)
        routes.add(f"GET {ROOT}/{{}}/versions/{{}}", self.show_version)
        routes.add(f"PUT {ROOT}/{{}}/aliases", self.set_alias)
        routes.add(f"GET {ROOT}/{{}}/aliases", self.list_aliases)
        routes.add(f"DELETE {ROOT}/{{}}/aliases", self.delete_alias)

    def create(self, request: ReceivedRequest) -> Response:
        """Keep an agent as its version 0."""
        identity = f"ag_{self.kept.new_id().replace('-', '')}"
        agent = Agent(Store("versions"), "0")
        card = {
            "object": "agent",
            "id": identity,
            "version": 0,
            "created_at": MOMENT,
            "updated_at": MOMENT,
            "deployment_chat": False,
            "source": "api",
            **picked(request.fields, FIELDS),
        }
        self._keep(identity, agent, card, request)
        return json_response(agent.card())

    def list_all(self, request: ReceivedRequest) -> Response:
        """List the agents."""
        return json_response(page_of(self._cards(request), request.params))

    def list_pages(self, request: ReceivedRequest) -> Response:
        """List the agents as pages, of which there is one."""
        cards = self._cards(request)
        return json_response({"object": "list", "data": cards, "next_page_token": None})

    def show(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Show an agent, in the version that is asked for."""
        return self.show_version(request, identity, request.params.get("agent_version"))

    def show_version(
        self, _: ReceivedRequest, identity: str, version: str | None
    ) -> Response | None:
        """Show one version of an agent."""
        agent = self.kept.get(identity)
        card = None if agent is None else agent.card(version)
        return None if card is None else json_response(card)

    def update(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Make a new version with what the request changes."""
        agent = self.kept.get(identity)
        card = None if agent is None else agent.card()
        if agent is None or card is None:
            return None
        fields = picked(request.fields, FIELDS | {"deployment_chat"})
        self._keep(
            identity, agent, {**card, **fields, "version": card["versions"][-1] + 1}, request
        )
        return json_response(agent.card())

    def delete(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Forget an agent."""
        return None if self.kept.remove(identity) is None else no_content()

    def switch(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Put another version of an agent in use."""
        agent = self.kept.get(identity)
        version = request.params.get("version", "")
        if agent is None or agent.versions.get(version) is None:
            return None
        agent.current = version
        return json_response(agent.card())

    def list_versions(self, request: ReceivedRequest, identity: str) -> Response | None:
        """List the versions of an agent, the newest first."""
        agent = self.kept.get(identity)
        if agent is None:
            return None
        cards = [agent.card(str(card["version"])) or {} for card in agent.versions]
        return json_response(page_of(cards[::-1], request.params))

    def set_alias(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Give a version of an agent a name."""
        agent = self.kept.get(identity)
        alias, version = request.params.get("alias", ""), request.params.get("version", "")
        if agent is None or agent.versions.get(version) is None:
            return None
        if not alias:
            return missing("alias")
        if len(agent.aliases) >= MAX_ALIASES and alias not in agent.aliases:
            return invalid("too_large", ["query", "alias"], "LocalGateway's limit")
        agent.aliases[alias] = {
            "alias": alias,
            "version": int(version),
            "created_at": MOMENT,
            "updated_at": MOMENT,
        }
        return json_response(agent.aliases[alias])

    def list_aliases(self, _: ReceivedRequest, identity: str) -> Response | None:
        """List the names of an agent's versions."""
        agent = self.kept.get(identity)
        return None if agent is None else json_response(list(agent.aliases.values()))

    def delete_alias(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Take a version's name away."""
        agent = self.kept.get(identity)
        alias = request.params.get("alias", "")
        if agent is None or agent.aliases.pop(alias, None) is None:
            return None
        return no_content()

    def _cards(self, request: ReceivedRequest) -> list[Card]:
        cards = [agent.card() or {} for agent in self.kept]
        name = request.params.get("name")
        return [card for card in cards if name is None or card["name"] == name]

    def _keep(self, identity: str, agent: Agent, card: Card, request: ReceivedRequest) -> None:
        """Keep a new version and put it in use."""
        agent.current = str(card["version"])
        agent.versions.put(agent.current, card, len(request.body))
        self.kept.put(identity, agent, agent.versions.size)
