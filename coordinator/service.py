"""A coordinator, put together: store, link to the nodes, catalogue and jobs. What the REST API offers, without HTTP."""

from __future__ import annotations

import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import structlog

import cohortium
from cohortium import proof
from cohortium.analysis import find
from cohortium.dictionary import Dictionary
from cohortium.documents import Permit, Roster
from cohortium.errors import InvalidQuestion, UnknownName
from cohortium.identity import code_identity
from cohortium.mentioned import variables_of
from cohortium.messages import CohortView, Enrolment, JobState, JobView, NetworkView, SignedText
from cohortium.signing import check_variables
from coordinator.audit import Audit, audit_key
from coordinator.catalogue import Catalogue, Presence
from coordinator.greeting import Greeter
from coordinator.jobs import Jobs
from coordinator.problems import Declined
from coordinator.question import KeyConflict
from coordinator.registry import Registry
from coordinator.store import Store

if TYPE_CHECKING:
    from coordinator.config import Settings

log = structlog.get_logger()


class Line(Presence, Protocol):
    """The line to the nodes. See `coordinator.link.Link`."""

    def start(self) -> None:
        """Listen for nodes."""

    def stop(self) -> None:
        """Stop listening."""

    def enrol(self, cohort: str, public_key: bytes) -> None:
        """Pin a cohort's key."""

    def withdraw(self, cohort: str) -> None:
        """Turn a cohort's node away from now on."""


class Coordinator:
    """Everything that a coordinator does, between `start` and `stop`."""

    def __init__(self, settings: Settings, store: Store, dictionary: Dictionary, link: Line) -> None:
        self.settings, self.store, self.dictionary, self.link = settings, store, dictionary, link
        self.registry = Registry(store, settings.name, settings.authority)
        self.audit = Audit(store, audit_key(settings.path(settings.audit_key)))
        self.catalogue = Catalogue(dictionary, store, link, Greeter(self.registry, self.audit))
        self.jobs = Jobs(store, dictionary, link.open, self.audit, parallel=settings.max_parallel_jobs)
        self._enrolling = threading.Lock()

    def start(self) -> None:
        """Let nodes connect and take up the jobs that have not ended."""
        self.audit.note("started", code=code_identity())
        for cohort in self.store.cohorts():
            self._pin(cohort.name, cohort.public_key)
        self.link.start()
        self.catalogue.start()
        self.jobs.start()

    def stop(self) -> None:
        """Stop within seconds; jobs that have not ended go on at the next start."""
        self.jobs.stop()
        self.catalogue.stop()
        self.link.stop()
        self.store.close()

    def network(self) -> NetworkView:
        """What this network is."""
        known = self.dictionary
        return NetworkView(
            name=self.settings.name,
            version=cohortium.__version__,
            dictionary=known.name,
            dictionary_version=known.version,
            dictionary_digest=known.digest,
            title=known.title,
            code=code_identity(),
            audit_key=self.audit.key,
        )

    def submit(self, request: SignedText, by: str) -> JobView:
        """Check a signed job and take it in. Raises InvalidQuestion, FormulaError, UnknownName, or why it is Untrusted.

        The checks are for the researcher, who hears early what is wrong. Every node repeats them for itself.
        """
        taken = self.registry.take(request.document)
        job = taken.mandate.job
        if job.version != code_identity():
            raise InvalidQuestion("The job was signed for another version of the code: connect again, and submit anew.")
        if job.dictionary != self.dictionary.digest:
            raise InvalidQuestion("The job was signed for another dictionary than this network has: connect again.")
        params = find(job.analysis).params.bind(job.params, self.dictionary)
        check_variables(taken.mandate.permit, variables_of(params))
        self.catalogue.check(job.cohorts, params)
        return self.jobs.submit(job, taken.papers, params=params.model_dump(mode="json"), by=by)

    def put_roster(self, text: str, by: str) -> Roster:
        """Take in a new roster. Jobs under the one before end; every node that is there hears of it at once."""
        roster = self.registry.put_roster(text).document
        self.audit.note("roster taken", version=roster.version, roster=roster.digest(), by=by)
        self.jobs.fail_those_under_another(roster)
        self.catalogue.greet_again()
        log.info("roster taken", version=roster.version, by=by)
        return roster

    def add_permit(self, text: str, by: str) -> Permit:
        """Take in a permit. Raises InvalidQuestion or why it is Untrusted."""
        permit = self.registry.add_permit(text).document
        self.audit.note("permit taken", permit=permit.digest(), study=permit.study, by=by)
        log.info("permit taken", study=permit.study, by=by)
        return permit

    def proof(self, job: JobView) -> bytes:
        """What a finished job's result is verified by: a zip of documents, questions and signed answers."""
        self.result(job)
        papers = self.store.papers(job.id)
        if papers is None:
            raise Declined(HTTPStatus.CONFLICT, f"Job {job.id} was not signed: there is no proof.")
        records = {number: record for number, (_, record) in self.store.transcript(job.id).items()}
        return proof.pack(papers, self.dictionary, records)

    def result(self, job: JobView) -> str:
        """The result of a job as JSON. Raises Declined while there is none."""
        result = self.store.result(job.id) if job.state is JobState.finished else None
        if result is None:
            why = f" {job.problem.message}" if job.problem else ""
            raise Declined(HTTPStatus.CONFLICT, f"Job {job.id} is {job.state}: it has no result.{why}")
        return result

    def enrol(self, enrolment: Enrolment, by: str) -> CohortView:
        """Take a cohort into the network, or give one another title. Raises InvalidQuestion or Declined."""
        name = enrolment.name
        with self._enrolling:
            self._pin(name, enrolment.public_key)
            self.store.enrol(name, enrolment.title, enrolment.public_key)
        log.info("cohort enrolled", cohort=name, by=by)
        self.audit.note("cohort enrolled", cohort=name, by=by)
        return next(view for view in self.catalogue.cohorts() if view.name == name)

    def withdraw(self, name: str, by: str) -> None:
        """Take a cohort out of the network; unfinished jobs that ask it fail. Raises UnknownName."""
        with self._enrolling:
            enrolled = [cohort.name for cohort in self.store.cohorts()]
            if name not in enrolled:
                raise UnknownName.of("cohort", name, enrolled)
            self.store.withdraw(name)
            self.link.withdraw(name)
        self.catalogue.forget(name)
        self.jobs.fail_those_of(name)
        log.info("cohort withdrawn", cohort=name, by=by)
        self.audit.note("cohort withdrawn", cohort=name, by=by)

    def _pin(self, name: str, key: str) -> None:
        try:
            self.link.enrol(name, key.encode())
        except ValueError:
            message = f"public_key: that of `{name}` is not an elliptic-curve public key (NIST curve) in PEM form."
            raise InvalidQuestion(message) from None
        except KeyConflict:
            message = f"`{name}` is enrolled with another key, or another cohort has this one. Withdraw it first."
            raise Declined(HTTPStatus.CONFLICT, message) from None
