"""The model registry: which version of a strategy trades, and its arrays, verified.

Here belong versions, aliases, tags and the loading of inference arrays. `champion` trades,
`challenger` waits, `previous` is where a rollback goes. Training is not here, nor are promotion
and the history of who promoted what and why: `day.promotion` and `models.history`.

Reading the champion of an SQLite registry goes by SQL and imports nothing heavy, for it is on the
path of every daily cycle; everything that writes goes through MLflow.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from hydra_pipelines.kept import KeptConnection
from hydra_pipelines.models.inference import InferenceModel, ModelFileError, load_model, sha256
from hydra_pipelines.models.reference import Reference

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"
INFERENCE_FILE = "inference.npz"
REFERENCE_FILE = "reference.npz"
_EXPERIMENT = "hydra_pipelines"
_SQLITE = "sqlite:///"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


class RegistryError(RuntimeError):
    """The registry can't give a model to trade on."""


class RegistryUnavailable(RegistryError):
    """The registry itself can't be read."""


class NoChampion(RegistryError):
    """No version of the strategy carries the alias."""


class NoSuchVersion(RegistryError):
    """A version that does not exist, or no longer."""


class ArtifactMissing(RegistryError):
    """A version without its inference arrays."""


class ArtifactMismatch(RegistryError):
    """Inference arrays that are not the ones recorded."""


@dataclass(frozen=True)
class ChampionRef:
    """A registered version: where its files are, and what they must be.

    location: URI of the folder with the version's files. sha256: of the inference arrays, empty
    where the version was registered without them. features: in the order of the model's columns.
    tags: all that the registry has beside the version, figures and the gate's verdict among them.
    """

    strategy_id: str
    version: int
    run_id: str
    location: str
    sha256: str
    features: tuple[str, ...]
    data_snapshot: str
    as_of: str
    tags: Mapping[str, str] = field(default_factory=dict, repr=False)


def import_mlflow() -> ModuleType:
    """MLflow without telemetry, git warnings and chatter."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return mlflow


class Registry:
    """MLflow's model registry at a tracking URI: `sqlite:///<path>` or a server's."""

    def __init__(self, uri: str, artifact_root: Path | str, ui: str = ""):
        """ui: address at which the MLflow UI of a store without a server is shown."""
        self.uri = uri
        self._ui = ui
        self.artifact_root = Path(artifact_root)
        self._database = Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None
        self._kept = KeptConnection(self._database, self._open) if self._database else None

    def exists(self) -> bool:
        """Whether the store has been made; a server is taken to be there."""
        return self._database is None or self._database.exists()

    @property
    def is_local(self) -> bool:
        """Whether versions and their files can be read without asking a server."""
        return self._database is not None

    def initialise(self) -> str:
        """Make the store and its experiment where they are not there yet; the experiment's id.

        A store is made alone, under a file lock, and gets its name once it is complete: MLflow
        neither survives two first initialisations at a time nor one that was cut short.
        """
        with self._alone():
            if self._database is not None and not self.exists():
                unfinished = self._database.with_name(f".{self._database.name}.new")
                unfinished.unlink(missing_ok=True)
                self._experiment(self._client(f"{_SQLITE}{unfinished}"))
                os.replace(unfinished, self._database)
            return self._experiment(self._client())

    def champion(self, strategy_id: str, alias: str = CHAMPION) -> ChampionRef | None:
        """The version that carries the alias, or None where no version does.

        Raises RegistryUnavailable where that can't be known.
        """
        number = self.aliases(strategy_id).get(alias)
        return None if number is None else self.version(strategy_id, number)

    def version(self, strategy_id: str, number: int) -> ChampionRef:
        """A version by its number. Raises NoSuchVersion, or RegistryUnavailable."""
        run_id, location, tags = (
            self._version_by_sql(strategy_id, number)
            if self._database
            else self._version_by_client(strategy_id, number)
        )
        return ChampionRef(
            strategy_id=strategy_id,
            version=number,
            run_id=run_id or "",
            location=location,
            sha256=tags.get("inference_sha256", ""),
            features=tuple(json.loads(tags.get("features", "[]"))),
            data_snapshot=tags.get("data_snapshot", ""),
            as_of=tags.get("as_of", ""),
            tags=tags,
        )

    def aliases(self, strategy_id: str) -> dict[str, int]:
        """Every alias of the strategy's model and the version it is on; empty without a model."""
        if self._database:
            return {
                alias: int(version)
                for alias, version in self._query(
                    "SELECT alias, version FROM registered_model_aliases WHERE name = ?",
                    (strategy_id,),
                )
            }
        for model in self._ask("search_registered_models", f"name = '{strategy_id}'"):
            return {alias: int(version) for alias, version in model.aliases.items()}
        return {}

    def versions(self, strategy_id: str) -> tuple[int, ...]:
        """The numbers of the versions that are not deleted, ascending."""
        if self._database:
            rows = self._query(
                "SELECT version FROM model_versions"
                " WHERE name = ? AND current_stage <> 'Deleted_Internal'",
                (strategy_id,),
            )
            return tuple(sorted(int(version) for (version,) in rows))
        found = self._all_pages("search_model_versions", f"name = '{strategy_id}'")
        return tuple(sorted(int(version.version) for version in found))

    def models(self) -> tuple[str, ...]:
        """The names of all registered models, those that are no strategy's among them."""
        if self._database:
            return tuple(n for (n,) in self._query("SELECT name FROM registered_models", ()))
        return tuple(sorted(m.name for m in self._all_pages("search_registered_models")))

    def link(self, strategy_id: str, version: int | None = None) -> str:
        """Where the MLflow UI shows it; without a server, the part of the URL after its address."""
        place = f"#/models/{quote(strategy_id)}"
        if version is not None:
            place += f"/versions/{version}"
        return place if self._database else f"{self.uri.rstrip('/')}/{place}"

    def url(self, strategy_id: str, version: int | None = None) -> str:
        """The same as a whole, where somebody serves the UI; else as `link`."""
        link = self.link(strategy_id, version)
        return f"{self._ui}{link}" if self._database else link

    def require_champion(self, strategy_id: str) -> ChampionRef:
        """As `champion`; raises NoChampion where there is none."""
        ref = self.champion(strategy_id)
        if ref is None:
            raise NoChampion(
                f"strategy {strategy_id} has no version with the alias {CHAMPION!r}; "
                "train it, or set the alias on one of its versions"
            )
        return ref

    def load_inference(
        self, ref: ChampionRef, recorded_sha256: str | None = None
    ) -> InferenceModel:
        """The model of a version, if it is the one that was registered.

        `recorded_sha256` is the caller's own record, where he has one. Raises ArtifactMissing or
        ArtifactMismatch.
        """
        who = f"version {ref.version} of {ref.strategy_id}"
        if not ref.sha256:
            raise ArtifactMissing(f"{who} was registered without inference arrays; train it here")
        content = self._file(ref, INFERENCE_FILE)
        actual = sha256(content)
        for expected, where in (
            (ref.sha256, "the registry's tag"),
            (recorded_sha256, "our record"),
        ):
            if expected is not None and actual != expected:
                raise ArtifactMismatch(
                    f"{who}: its inference arrays hash to {actual[:12]}, {where} says "
                    f"{expected[:12]}; they were changed after training and are not used"
                )
        try:
            model = load_model(content)
        except ModelFileError as error:
            raise ArtifactMismatch(f"{who}: {error}") from error
        if model.features != ref.features:
            raise ArtifactMismatch(f"{who}: its features differ from those the registry names")
        return model

    def load_reference(self, ref: ChampionRef) -> Reference:
        """How features and predictions lay at training. Raises ArtifactMissing."""
        return Reference.from_bytes(self._file(ref, REFERENCE_FILE))

    def register(
        self, strategy_id: str, run_id: str, model_id: str, tags: Mapping[str, str]
    ) -> int:
        """Add a logged model as a version of the strategy's model and return its number."""
        # MLflow looks the logged model up in the process's store, whatever the client's is.
        import_mlflow().set_tracking_uri(self.uri)
        if not self._ask("search_registered_models", f"name = '{strategy_id}'"):
            self._ask("create_registered_model", strategy_id)
        made = self._ask(
            "create_model_version",
            strategy_id,
            f"models:/{model_id}",
            run_id=run_id,
            tags=dict(tags),
            model_id=model_id,
        )
        return int(made.version)

    def add_files(self, model_id: str, files: Mapping[str, bytes]) -> None:
        """Put files beside a logged model, by name."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.write_bytes(content)
                self._ask("log_model_artifact", model_id, str(path))

    def set_alias(self, strategy_id: str, alias: str, number: int) -> None:
        """Move an alias to a version. Raises NoSuchVersion."""
        self.version(strategy_id, number)
        self._ask("set_registered_model_alias", strategy_id, alias, str(number))

    def drop_alias(self, strategy_id: str, alias: str) -> None:
        """Take an alias away; one that is not there is no error."""
        self._ask("delete_registered_model_alias", strategy_id, alias)

    def set_tags(self, strategy_id: str, number: int, tags: Mapping[str, str]) -> None:
        """Put tags on a version, in the place of those of the same names."""
        for name, value in tags.items():
            self._ask("set_model_version_tag", strategy_id, str(number), name, value)

    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Put tags on the run that a version was trained in, for people who look there."""
        for name, value in tags.items():
            self._ask("set_tag", run_id, name, value)

    def add_report(self, run_id: str, name: str, text: str) -> None:
        """Put a text beside the run that a version was trained in."""
        self._ask("log_text", run_id, text, name)

    def _client(self, uri: str | None = None) -> Any:
        mlflow = import_mlflow()
        try:
            # Both, or a registry that the environment names would be written to.
            return mlflow.MlflowClient(tracking_uri=uri or self.uri, registry_uri=uri or self.uri)
        except Exception as error:
            raise RegistryUnavailable(f"registry {self.uri}: {error}") from error

    def _experiment(self, client: Any) -> str:
        try:
            experiment = client.get_experiment_by_name(_EXPERIMENT)
            if experiment is None:
                root = self.artifact_root.resolve().as_uri() if self._database else None
                return client.create_experiment(_EXPERIMENT, artifact_location=root)
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)
            return experiment.experiment_id
        except Exception as error:
            raise RegistryUnavailable(f"registry {self.uri}: {error}") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else initialises meanwhile; a server sees to that itself."""
        if self._database is None:
            yield
            return
        self._database.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._database.parent / ".registry.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _version_by_sql(self, strategy_id: str, number: int) -> tuple[str, str, dict[str, str]]:
        rows = self._query(
            "SELECT run_id, storage_location, source FROM model_versions"
            " WHERE name = ? AND version = ? AND current_stage <> 'Deleted_Internal'",
            (strategy_id, number),
        )
        if not rows:
            raise NoSuchVersion(f"strategy {strategy_id} has no version {number}")
        run_id, location, source = rows[0]
        tags = self._query(
            "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?",
            (strategy_id, number),
        )
        return run_id, location or source, dict(tags)

    def _version_by_client(self, strategy_id: str, number: int) -> tuple[str, str, dict[str, str]]:
        found = self._ask(
            "search_model_versions", f"name = '{strategy_id}' and version_number = {number}"
        )
        if not found:
            raise NoSuchVersion(f"strategy {strategy_id} has no version {number}")
        location = self._ask("get_model_version_download_uri", strategy_id, str(number))
        return found[0].run_id, location, found[0].tags

    def _query(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        assert self._kept is not None
        try:
            with self._kept.use() as connection:
                return connection.execute(statement, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise RegistryUnavailable(
                f"registry {self._database}: {error}; it is made by the first training"
            ) from error

    def _open(self) -> sqlite3.Connection:
        assert self._database is not None
        uri = f"{self._database.resolve().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, timeout=5.0)

    def _ask(self, method: str, *arguments: object, **options: object) -> Any:
        client = self._client()
        try:
            return getattr(client, method)(*arguments, **options)
        except Exception as error:
            raise RegistryUnavailable(f"registry {self.uri}: {error}") from error

    def _all_pages(self, method: str, filter_string: str = "") -> Iterator[Any]:
        token = None
        while True:
            page = self._ask(method, filter_string, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _file(self, ref: ChampionRef, name: str) -> bytes:
        address = urlsplit(ref.location)
        try:
            if address.scheme in ("", "file"):
                return Path(unquote(address.path), name).read_bytes()
            mlflow = import_mlflow()
            with tempfile.TemporaryDirectory() as folder:
                path = mlflow.artifacts.download_artifacts(
                    artifact_uri=f"{ref.location}/{name}", dst_path=folder, tracking_uri=self.uri
                )
                return Path(path).read_bytes()
        except Exception as error:
            raise ArtifactMissing(
                f"version {ref.version} of {ref.strategy_id}: {name} can't be read from "
                f"{ref.location}: {error}"
            ) from error
