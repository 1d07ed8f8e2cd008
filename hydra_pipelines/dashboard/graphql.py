"""The Dagster webserver's GraphQL, on loopback: what launches runs. Nothing else is asked of it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 20.0
LOOK_S = 1.5
"""For the question whether it is there."""


class WebserverDown(RuntimeError):
    """The webserver does not answer; the message says so in words for a page."""


class NotLaunched(RuntimeError):
    """The webserver refused to launch the run, and says why."""


@dataclass(frozen=True)
class Location:
    """Where the desk's jobs are, as the webserver names it."""

    repository: str
    location: str
    jobs: frozenset[str]


class Webserver:
    """The webserver at a URL."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")

    def location(self, timeout_s: float = LOOK_S) -> Location:
        """Raises WebserverDown where it does not answer, or has not loaded the desk's code."""
        found = self._ask(_LOCATIONS, {}, timeout_s)["repositoriesOrError"]
        nodes = found.get("nodes")
        if not nodes:
            raise WebserverDown(
                f"the Dagster webserver at {self.url} has not loaded the desk's code"
                + (f": {found['message'][:200]}" if found.get("message") else "")
            )
        node = next((n for n in nodes if "hydra" in n["location"]["name"]), nodes[0])
        return Location(
            node["name"], node["location"]["name"], frozenset(j["name"] for j in node["jobs"])
        )

    def launch(self, job: str, tags: Mapping[str, str]) -> str:
        """The id of the run. Raises WebserverDown or NotLaunched."""
        at = self.location(TIMEOUT_S)
        if job not in at.jobs:
            raise NotLaunched(f"there is no job {job} in the desk's code")
        parameters = {
            "selector": {
                "repositoryName": at.repository,
                "repositoryLocationName": at.location,
                "jobName": job,
            },
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags.items()]},
        }
        return _run_id(self._ask(_LAUNCH, {"p": parameters}, TIMEOUT_S)["launchRun"])

    def reexecute(self, run_id: str, *, from_failure: bool) -> str:
        """The id of the new run. Raises WebserverDown or NotLaunched."""
        strategy = "FROM_FAILURE" if from_failure else "ALL_STEPS"
        parameters = {"parentRunId": run_id, "strategy": strategy}
        answer = self._ask(_REEXECUTE, {"p": parameters}, TIMEOUT_S)
        return _run_id(answer["launchRunReexecution"])

    def _ask(self, query: str, variables: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=timeout_s)
        try:
            connection.request(
                "POST",
                "/graphql",
                json.dumps({"query": query, "variables": variables}),
                # The guard in front of it asks where a change comes from.
                {"content-type": "application/json", "origin": self.url},
            )
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise WebserverDown(
                f"the Dagster webserver does not answer at {self.url} "
                f"({type(error).__name__}): `hydra up` starts it"
            ) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise WebserverDown(f"the Dagster webserver at {self.url} answers {answer.status}")
        try:
            data = json.loads(text)
        except ValueError as error:
            raise WebserverDown(f"what answers at {self.url} is no Dagster webserver") from error
        if not isinstance(data, dict) or data.get("errors") or not data.get("data"):
            raise NotLaunched(f"the webserver did not understand: {str(data)[:300]}")
        found: dict[str, Any] = data["data"]
        return found


def _run_id(answer: Mapping[str, Any]) -> str:
    if "run" in answer:
        return str(answer["run"]["runId"])
    errors = answer.get("errors") or [{"message": answer.get("message", answer["__typename"])}]
    raise NotLaunched("; ".join(str(error["message"])[:300] for error in errors))


_LOCATIONS = """query Where { repositoriesOrError { __typename
  ... on RepositoryConnection { nodes { name location { name } jobs { name } } }
  ... on PythonError { message } } }"""
_ANSWERS = """__typename ... on LaunchRunSuccess { run { runId } }
  ... on RunConfigValidationInvalid { errors { message } } ... on PythonError { message }
  ... on UnauthorizedError { message } ... on RunConflict { message }
  ... on PipelineNotFoundError { message } ... on InvalidSubsetError { message }"""
_LAUNCH = (
    f"mutation Launch($p: ExecutionParams!) {{ launchRun(executionParams: $p) {{ {_ANSWERS} }} }}"
)
_REEXECUTE = (
    "mutation Again($p: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $p) "
    f"{{ {_ANSWERS} }} }}"
)
