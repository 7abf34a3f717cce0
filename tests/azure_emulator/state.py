"""What this Azure knows and remembers. Tests change it freely, under its lock."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

TENANT = "00000000-0000-0000-0000-0000000000ff"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
REGISTRY_SUBSCRIPTION = "00000000-0000-0000-0000-0000000000aa"
PERSON = "00000000-0000-0000-0000-00000000000e"
CLIENT = "00000000-0000-0000-0000-0000000000c1"
CLIENT_OBJECT = "00000000-0000-0000-0000-0000000000c0"
MANAGED_IDENTITY = "00000000-0000-0000-0000-0000000000d0"
SECRET = "loopback-client-secret-7Qx"
REGION = "eastus2"
GROUP = "finetui-rg"
HUB = "finetui-hub"
PROJECT = "finetui-project"

PRINCIPALS = (CLIENT_OBJECT, PERSON, MANAGED_IDENTITY)

CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
AI_DEVELOPER = "64702f94-c441-49e6-a78b-ef80e0188fee"


PROVIDERS = (
    "Microsoft.Network",
    "Microsoft.MachineLearningServices",
    "Microsoft.Storage",
    "Microsoft.KeyVault",
)


@dataclass
class Settings:
    """How this Azure behaves; each may be changed while it runs. Durations are in seconds."""

    seconds_per_status: float = 0.2
    """How long a job stays in each status before it ends."""
    running_seconds: float | None = None
    """How long it trains; four statuses' time when None."""
    training_steps: int = 20
    evaluate_every: int = 5
    job_ending: str = "Completed"
    """Completed or Failed: how jobs made from now on end. Failed ones stop half-way through training."""
    job_error: dict[str, Any] = field(
        default_factory=lambda: {
            "code": "UserError",
            "message": "Training data could not be read: row 3 has no messages.",
        }
    )
    hold_jobs_at: str | None = None
    """A status at which jobs wait until this is None again."""
    operation_seconds: float = 0.2
    """How long an endpoint, a workspace or a deployment takes to be made or deleted."""
    endpoint_ending: str = "Succeeded"
    """Succeeded or Failed, for endpoints made from now on."""
    workspace_ending: str = "Succeeded"
    cancel_accepted: bool = False
    """Answer a cancel with 202 and a Location to poll, instead of 200."""
    register_seconds: float = 0.3
    """How long a resource provider stays Registering."""
    token_seconds: int = 3600
    clock_skew: float = 0.0
    """Seconds by which this Azure's clock is ahead of the machine's."""
    device_code_approves_after: float | None = None
    """Approve every device code after so many seconds; never when None: `entra.approve(code)` does it one at a time."""
    device_code_seconds: int = 900
    device_poll_seconds: int = 1
    """The interval between polls that the device-code answer asks for."""
    cli_signed_in: bool = True
    datastore_credentials: str = "Sas"
    """Sas, AccountKey or None."""
    endpoint_names_taken: set[str] = field(default_factory=set)
    """Endpoint names somebody else holds in the region."""
    subdomains_taken: set[str] = field(default_factory=set)
    """Names of AI services accounts that somebody else holds in the world."""
    endpoint_quota: int = 300
    """Endpoints a subscription may have in a region."""
    reply: str | None = None
    """What endpoints answer; an echo of the last message when None."""
    token_pause: float = 0.01
    """The pause before each streamed word."""
    prices_page: int = 100
    """Rows on a page of the price list."""
    enforce_roles: bool = True


@dataclass
class Subscription:
    id: str
    name: str
    tenant: str
    state: str = "Enabled"


@dataclass
class Role:
    scope: str
    definition: str
    principal: str


@dataclass
class Workspace:
    """A hub or a project, with everything in it by name (and version)."""

    subscription: str
    group: str
    name: str
    kind: str
    location: str
    hub: str | None = None
    friendly_name: str = ""
    description: str = ""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    made: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)
    public_network: str = "Enabled"
    jobs: dict[str, Any] = field(default_factory=dict)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    endpoints: dict[str, Any] = field(default_factory=dict)
    marketplace: dict[str, Any] = field(default_factory=dict)
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def arm_id(self) -> str:
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.name}"
        )

    @property
    def container(self) -> str:
        return f"azureml-blobstore-{self.id}"


@dataclass
class Operation:
    """A long-running operation: in progress until its time comes, then `finish` runs once."""

    until: float
    finish: Any = None
    status: str = "InProgress"
    error: dict[str, Any] | None = None
    ending: str = "Succeeded"
    result: Any = None


class State:
    """Everything by name; `lock` guards it. Handlers hold the lock, tests take it to change several things at once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lock = threading.RLock()
        self.schema_errors: list[str] = []
        self.begin()

    def begin(self) -> None:
        """Know one subscription with its roles and providers, and remember nothing."""
        self.schema_errors.clear()
        self.subscriptions = {SUBSCRIPTION: Subscription(SUBSCRIPTION, "Loopback subscription", TENANT)}
        self.tenants = {TENANT: "Loopback"}
        self.clients = {CLIENT: (SECRET, CLIENT_OBJECT)}
        self.roles = [Role(f"/subscriptions/{SUBSCRIPTION}", CONTRIBUTOR, one) for one in PRINCIPALS]
        self.groups: dict[tuple[str, str], dict[str, Any]] = {}
        self.providers: dict[tuple[str, str], tuple[str, float]] = {}
        self.workspaces: dict[tuple[str, str, str], Workspace] = {}
        self.ai_services: dict[str, dict[str, Any]] = {}
        self.operations: dict[str, Operation] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, int, Any]] = []
        for namespace in PROVIDERS:
            self.set_provider(SUBSCRIPTION, namespace, "Registered")

    def now(self) -> float:
        """This Azure's clock, in seconds since the epoch."""
        return time.time() + self.settings.clock_skew

    def stamp(self, moment: float | None = None) -> str:
        when = datetime.fromtimestamp(self.now() if moment is None else moment, UTC)
        return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def system_data(self, moment: float | None = None) -> dict[str, str]:
        when = self.stamp(moment)
        return {
            "createdBy": "Loopback",
            "createdByType": "User",
            "createdAt": when,
            "lastModifiedAt": when,
            "lastModifiedBy": "Loopback",
            "lastModifiedByType": "User",
        }

    def add_subscription(self, name: str, title: str, tenant: str, role: str = CONTRIBUTOR) -> Subscription:
        """Another subscription, in a tenant made known with it, where everybody holds a role."""
        self.tenants.setdefault(tenant, title)
        self.subscriptions[name] = Subscription(name, title, tenant)
        self.roles += [Role(f"/subscriptions/{name}", role, one) for one in PRINCIPALS]
        for namespace in PROVIDERS:
            self.set_provider(name, namespace, "Registered")
        return self.subscriptions[name]

    def set_role(self, definition: str | None, scope: str = f"/subscriptions/{SUBSCRIPTION}") -> None:
        """Everybody holds one role, at one scope, and no other; none at all for None."""
        self.roles = [] if definition is None else [Role(scope, definition, one) for one in PRINCIPALS]

    def set_provider(self, subscription: str, namespace: str, registration: str, ready: float = 0.0) -> None:
        self.providers[subscription, namespace.lower()] = (registration, ready)

    def provider(self, subscription: str, namespace: str) -> str:
        """The registration state of a resource provider now."""
        registration, ready = self.providers.get((subscription, namespace.lower()), ("NotRegistered", 0.0))
        if registration == "Registering" and time.time() >= ready:
            registration = "Registered"
            self.set_provider(subscription, namespace, registration)
        return registration

    def add_group(
        self, name: str, location: str = REGION, subscription: str = SUBSCRIPTION
    ) -> dict[str, Any]:
        group = {
            "id": f"/subscriptions/{subscription}/resourceGroups/{name}",
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": location,
            "tags": {},
            "properties": {"provisioningState": "Succeeded"},
        }
        self.groups[subscription, name.lower()] = group
        return group

    def add_workspace(self, workspace: Workspace) -> Workspace:
        workspace.made = self.now()
        self.workspaces[workspace.subscription, workspace.group.lower(), workspace.name.lower()] = workspace
        return workspace

    def workspace(self, name: str, group: str = GROUP, subscription: str = SUBSCRIPTION) -> Workspace | None:
        return self.workspaces.get((subscription, group.lower(), name.lower()))

    def start(self, operation: Operation) -> str:
        """Begin a long-running operation; returns its id."""
        name = f"op-{uuid.uuid4()}"
        self.operations[name] = operation
        return name

    def settle(self) -> None:
        """Bring everything that has a time of its own up to now."""
        now = time.time()
        for operation in list(self.operations.values()):
            if operation.status == "InProgress" and now >= operation.until:
                operation.status = operation.ending
                if operation.finish:
                    operation.finish(operation)
        for workspace in list(self.workspaces.values()):
            for job in list(workspace.jobs.values()):
                job.settle(now, self, workspace)

    @property
    def jobs(self) -> dict[str, Any]:
        """Every workspace's jobs, by name, brought up to now."""
        with self.lock:
            self.settle()
            return {
                name: job for workspace in self.workspaces.values() for name, job in workspace.jobs.items()
            }

    @property
    def endpoints(self) -> dict[str, Any]:
        """Every workspace's serverless endpoints, by name, brought up to now."""
        with self.lock:
            self.settle()
            return {
                name: one
                for workspace in self.workspaces.values()
                for name, one in workspace.endpoints.items()
            }
