"""Settings: ``LIFT_*`` environment variables, then the embedded stack's own file.

The embedded stack writes ``$LIFT_HOME/stack.env`` with the same names. Nothing outside
``lift_core.stack`` can tell whether a service is embedded or the user's own.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lift_core.records import Tenant


def lift_home() -> Path:
    """Where models, secrets, logs and the embedded services' data live.

    ``$LIFT_HOME``, by default ``.lift`` in the current directory.
    """
    return Path(os.environ.get("LIFT_HOME", ".lift")).resolve()


class Settings(BaseSettings):
    """All that ``lift_core`` is told from outside."""

    model_config = SettingsConfigDict(env_prefix="LIFT_", extra="ignore")

    home: Path = Field(default_factory=lift_home)

    database_url: SecretStr = SecretStr("")
    """SQLAlchemy URL of the registry, ``postgresql+psycopg2://…``."""

    s3_endpoint: str = ""
    """``host:port`` of the object store."""
    s3_access_key: SecretStr = SecretStr("")
    s3_secret_key: SecretStr = SecretStr("")
    s3_secure: bool = False
    s3_region: str = "us-east-1"
    documents_bucket: str = "lift-documents"
    work_bucket: str = "lift-work"
    adapters_bucket: str = "lift-adapters"

    port_offset: int = Field(default=0, ge=0, le=10_000)
    """Added to the embedded stack's default ports, for several stacks on one machine."""

    generator_url: str = ""
    """OpenAI-compatible base URL (ending in ``/v1``) of the model that writes pairs."""
    generator_api_key: SecretStr = SecretStr("none")
    reader_url: str = ""
    """The same of the model that answers the questions again, a recipe's ``gate.reader``; empty: the
    generator's server has it too."""
    reader_api_key: SecretStr = SecretStr("none")
    judge_url: str = ""
    """The same of the stronger model that looks at pairs, a recipe's ``gate.judge``."""
    judge_api_key: SecretStr = SecretStr("none")
    serving_url: str = ""
    """OpenAI-compatible base URLs of the vLLM servers that serve adapters, separated by commas.

    They belong on loopback or on a network that only LIFT reaches: names are judged by the gateway.
    """
    serving_api_key: SecretStr = SecretStr("none")
    vllm_gpu_share: float = Field(default=0.25, gt=0, lt=1)
    """The part of a GPU's memory that each vLLM server of the embedded stack takes (vLLM's
    ``--gpu-memory-utilization``); training has what two of them leave."""
    gateway_url: str = ""
    """OpenAI-compatible base URL of the gateway, which clients ask by name or alias."""
    gateway_api_key: SecretStr = SecretStr("")
    """What the gateway's clients must send. The gateway takes several, separated by commas."""

    airflow_url: str = ""
    """Base address of Airflow's UI as browsers reach it, for links to runs and logs; empty: no links."""

    metrics_key: SecretStr = SecretStr("")
    """What Prometheus sends as its bearer token to ``/lift/metrics``; empty: only Airflow's users get in."""
    deadline_minutes: int = Field(default=0, ge=0)
    """A document that is not ready so long after its job was queued raises an alert, once; 0: none does."""

    models_dir: Path | None = None
    """Folder of base models; a recipe's ``base_model`` is a folder in it, or a hub name."""
    recipe: str = "embedded"
    """Name of a shipped recipe, or the path of a JSON file."""
    recipes_dir: Path | None = None
    """Folder of your own recipes, ``<name>.json``: object tags may name them."""

    max_document_bytes: int = 20 * 1024 * 1024
    max_document_pages: int = Field(default=1000, ge=1)
    """The most pages that a PDF may have."""
    max_expanded_bytes: int = Field(default=200 * 2**20, ge=1)
    """What a document may unpack to, and the largest text that a converter may make of it."""
    convert_seconds: float = Field(default=300, gt=0)
    """A converter that takes longer is ended."""
    convert_memory_bytes: int = Field(default=2 * 2**30, ge=256 * 2**20)
    """Address space of a converter's process."""
    max_active_jobs: int = Field(default=8, ge=0)
    """How many documents are under way at once; 0: none is started."""
    tenants: dict[str, Tenant] = Field(default_factory=dict)
    """Prefixes of the inbox with a recipe and a quota of their own, as JSON:
    ``{"legal": {"prefix": "legal/", "recipe": "llama3-8b", "quota": 4}}``."""
    removed_documents: Literal["keep", "archive"] = "keep"
    """Whether a document's adapters go on answering after its object was removed from the bucket."""
    outage_seconds: float = Field(default=3600, ge=0)
    """A step waits so long for a service that is away; then Airflow tries it again."""
    heartbeat_seconds: float = Field(default=10, gt=0)
    """An attempt gives a sign of life so often."""
    lease_seconds: float = Field(default=60, gt=0)
    """One that has given none for so long is taken for lost."""
    step_seconds: float = Field(default=86_400, ge=0)
    """A step that takes longer is ended and tried again; 0: it may take any time."""
    step_idle_seconds: float = Field(default=7200, ge=0)
    """The same of a step that has committed nothing for so long."""
    reruns: int = Field(default=3, ge=0)
    """A run that ended without ending its job, other than by an error that stays, is run again so often."""
    keep_deliveries_days: int = Field(default=30, ge=1)
    """Deliveries of webhooks that have ended are forgotten after so many days."""
    stream_idle_seconds: int = 600
    """A training that has waited so long for pairs gives up, unless their writer waits for a service."""
    checkpoint_seconds: float = Field(default=30, ge=0)
    """A training saves where it is after so long, or later where saving is dear; 0: after every step."""
    train_together: int = Field(default=8, ge=1)
    """How many small documents, itself included, a training takes into its passes; 1: only itself."""
    train_together_pairs: int = Field(default=256, ge=1)
    """A document with at most so many pairs is small."""
    train_processes: int = Field(default=1, ge=1)
    """How many processes train an adapter, each on a GPU of its own."""
    train_shard: bool = False
    """Whether each of them holds only a part of the base model's layers: for models larger than one GPU."""
    generator_concurrency: int = 16
    adapter_cache_bytes: int = 10 * 2**30
    """Disk that a serving engine's copies of adapters may take; those it still lists always stay."""
    log_format: str = "text"

    evaluation_tasks: str = "mmlu,gsm8k"
    """What the forgetting guard asks, separated by commas: lm-evaluation-harness's names, or your own."""
    evaluation_data: str = ""
    """Folder, or ``s3://bucket/prefix``, with the items of MMLU and GSM8K; empty: the Hugging Face hub."""
    evaluation_tasks_dir: Path | None = None
    """Folder of your own tasks, as lm-eval YAML files."""
    evaluation_items: int = Field(default=3000, ge=20)
    """Items of the first look at a task; more are asked where those cannot decide."""
    evaluation_max_items: int = Field(default=0, ge=0)
    """At most so many items of a task, evenly over its subjects; 0: all there are."""
    evaluation_margins: dict[str, float] = Field(default_factory=dict)
    """The drops that are still borne, as JSON: ``{"mmlu.accuracy": 0.02, "gsm8k.log-likelihood": 0.05}``."""
    evaluation_policy: Literal["alert", "quarantine", "retrain"] = "quarantine"
    """What becomes of an adapter that regressed; ``retrain`` quarantines, and trains a milder one."""
    evaluation_false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)
    """The share of a run's alerts that may be false, on average."""
    evaluation_every_days: int = Field(default=30, ge=1)
    """An adapter is measured again after so many days."""
    evaluation_adapters_per_run: int = Field(default=50, ge=1)
    """How many adapters a scheduled run takes, those that waited longest first."""
    evaluation_own_questions: int = Field(default=32, ge=0)
    """How many questions an adapter is asked about its own document; 0: none."""
    evaluation_writer: Literal["hf", "vllm"] = "hf"
    """What writes the answers to open questions: transformers in the guard's process, or LIFT_SERVING_URL."""
    evaluation_precision: Literal["bf16", "fp32"] = "bf16"
    """Precision of the guard's own process."""

    @field_validator("tenants")
    @classmethod
    def _prefixes_differ(cls, tenants: dict[str, Tenant]) -> dict[str, Tenant]:
        prefixes = [tenant.prefix for tenant in tenants.values()]
        if len(set(prefixes)) < len(prefixes):
            raise ValueError("two tenants have the same prefix")
        return tenants

    @property
    def models(self) -> Path:
        """Folder of the base models."""
        return self.models_dir or self.home / "models"

    @property
    def serving_replicas(self) -> tuple[str, ...]:
        """The vLLM servers of ``serving_url``, without trailing slashes."""
        return tuple(url.strip().rstrip("/") for url in self.serving_url.split(",") if url.strip())

    @property
    def adapter_cache(self) -> Path:
        """Local copies of adapters that the serving engine reads."""
        return self.home / "adapter-cache"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once. Tests call ``get_settings.cache_clear()``."""
    return Settings(_env_file=lift_home() / "stack.env")
