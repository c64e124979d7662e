"""Alarms: each cause is told once, none is lost, and each says what to do."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from google.api_core import exceptions as google_exceptions

from local.simulated.deployment import SimulatedDeployment
from support.shared_servers import Clock
from tuner.alarms import ALARMS, Alarms
from tuner.events import AlarmRaised
from tuner.requests import RequestedBy
from tuner.retention import Retention
from tuner.ticks import LATE, Ticks


class Deployed:
    """A deployment in memory, with a clock of the test's and as many processes as it likes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.simulated = SimulatedDeployment(self.clock)
        self.is_down = False
        self.heard: list[tuple[str, AlarmRaised]] = []

    def before(self, call: str) -> None:
        if self.is_down and call.startswith("publish"):
            raise google_exceptions.ServiceUnavailable("Pub/Sub is down")

    def alarms(self) -> Alarms:
        return self.simulated.controller(before=self.before).records.alarms

    def ticks(self) -> Ticks:
        controller = self.simulated.controller(before=self.before)
        return Ticks(controller.ledger, controller.records.alarms, clock=self.clock)

    def told(self) -> list[str]:
        """Names of the alarms that were published since it was asked last."""
        taken = [
            (message.attributes["ce-id"], msgspec.json.decode(message.data, type=AlarmRaised))
            for message in self.simulated.topics.take("run-events")
            if message.attributes["ce-type"] == "alarm.raised"
        ]
        self.heard += taken
        return [alarm.name for _, alarm in taken]


@pytest.fixture
def deployed() -> Deployed:
    return Deployed()


def test_every_alarm_says_what_happened_and_what_to_do() -> None:
    """An alarm that helps nobody is noise."""
    for name, alarm in ALARMS.items():
        assert alarm.what.endswith("."), name
        assert len(alarm.fix) > 20, name
        assert alarm.fix[0].isupper() or alarm.fix[0] == "`", name


def test_one_cause_is_told_once_by_however_many_processes(deployed: Deployed) -> None:
    for _ in range(3):
        alarms = deployed.alarms()
        for _ in range(2):
            alarms.raise_once("daily-cap", "2026-03-01", reason="It is reached.")
    assert deployed.told() == ["daily-cap"]


def test_another_cause_is_told_too(deployed: Deployed) -> None:
    alarms = deployed.alarms()
    alarms.raise_once("daily-cap", "2026-03-01", reason="It is reached.")
    alarms.raise_once("daily-cap", "2026-03-02", reason="It is reached.")
    assert deployed.told() == ["daily-cap"] * 2
    assert len({id_ for id_, _ in deployed.heard}) == 2


def test_an_alarm_carries_its_fix_as_plain_words(deployed: Deployed) -> None:
    """Links of the documentation's pages lead nowhere from an event."""
    for name in ALARMS:
        deployed.alarms().raise_once(name, "cause", reason="So it is.")
    assert deployed.told() == list(ALARMS)
    for _, alarm in deployed.heard:
        assert alarm.fix
        assert "](#" not in alarm.fix


def test_an_alarm_of_an_outage_is_told_when_that_is_over_and_once(deployed: Deployed) -> None:
    deployed.is_down = True
    deployed.alarms().raise_once("foreign-result", "r1", reason="No.", run_id="r1")
    assert deployed.alarms().tell_untold() == 1
    deployed.is_down = False
    assert deployed.alarms().tell_untold() == 0
    assert deployed.told() == ["foreign-result"]
    assert deployed.alarms().tell_untold() == 0
    assert deployed.told() == []


def test_an_outage_is_not_tried_for_each_alarm_of_a_pass(deployed: Deployed) -> None:
    """Each try may take ten seconds."""
    alarms = deployed.alarms()
    deployed.is_down = True
    alarms.raise_once("daily-cap", "1", reason="No.")
    deployed.is_down = False
    alarms.raise_once("daily-cap", "2", reason="No.")
    assert deployed.told() == []
    deployed.clock.advance(seconds=31)
    assert alarms.tell_untold() == 0
    assert sorted(deployed.told()) == ["daily-cap"] * 2


def test_the_log_says_it_once_with_name_and_fix(
    deployed: Deployed, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        deployed.alarms().raise_once("daily-cap", "2026-03-01", reason="It is reached.")
    [record] = [r for r in caplog.records if "alarm" in getattr(r, "fields", {})]
    told = vars(record)["fields"]
    assert (told["alarm"], told["reason"]) == ("daily-cap", "It is reached.")
    assert told["fix"] == ALARMS["daily-cap"].fix


def test_old_notes_go_and_what_lasts_is_told_anew(deployed: Deployed) -> None:
    alarms = deployed.alarms()
    alarms.raise_once("daily-cap", "1", reason="No.")
    written = deployed.simulated.controller().ledger.listed("alarms/")[0].updated
    assert alarms.forget_old(written) == 0, "not old yet"
    assert alarms.forget_old(written + timedelta(seconds=1)) == 1
    alarms.raise_once("daily-cap", "1", reason="No.")
    assert deployed.told() == ["daily-cap"] * 2


def test_a_note_that_cannot_be_read_keeps_no_other_from_being_told(deployed: Deployed) -> None:
    deployed.is_down = True
    deployed.alarms().raise_once("daily-cap", "1", reason="No.")
    deployed.is_down = False
    places = deployed.simulated.places
    bucket = deployed.simulated.storage.bucket(places.runs_bucket_name)
    bucket.blob("alarms/a-broken/one.json").upload_from_string(b"{")
    assert deployed.alarms().tell_untold() == 0
    assert deployed.told() == ["daily-cap"]


# -- ticks ---------------------------------------------------------------------------------------


def test_ticks_that_come_each_minute_raise_nothing(deployed: Deployed) -> None:
    ticks = deployed.ticks(), deployed.ticks()
    for _ in range(20):
        ticks[0].came("submitter")
        ticks[1].came("completion")
        deployed.clock.advance(minutes=1)
    assert deployed.told() == []


def test_a_function_without_ticks_is_missed_by_the_other_ones_tick(deployed: Deployed) -> None:
    ticks = deployed.ticks()
    ticks.came("submitter")
    ticks.came("completion")
    for _ in range(10):
        deployed.clock.advance(minutes=1)
        ticks.came("completion")
    assert deployed.told() == ["no-tick"], "once, however long it lasts"
    [(_, alarm)] = deployed.heard
    assert "No tick of submitter came since" in alarm.reason


def test_ticks_that_never_came_are_missed_too(deployed: Deployed) -> None:
    """A scheduler's job that nobody made."""
    ticks = deployed.ticks()
    for _ in range(7):
        ticks.came("completion")
        deployed.clock.advance(minutes=1)
    assert deployed.told() == ["no-tick"]
    assert "No tick of submitter ever came" in deployed.heard[0][1].reason


def test_any_call_misses_ticks_though_none_comes_at_all(deployed: Deployed) -> None:
    deployed.ticks().came("submitter")
    deployed.ticks().came("completion")
    deployed.clock.advance(seconds=LATE.total_seconds() - 1)
    deployed.ticks().look()
    assert deployed.told() == []
    deployed.clock.advance(seconds=1)
    deployed.ticks().look()
    assert deployed.told() == ["no-tick"] * 2


def test_the_tick_after_a_pause_tells_of_it_and_a_second_pause_is_told_anew(
    deployed: Deployed,
) -> None:
    for _ in range(2):
        deployed.ticks().came("submitter")
        deployed.clock.advance(hours=3)
        deployed.ticks().came("submitter")
        assert "no-tick" in deployed.told()
        assert "come again; none came since" in deployed.heard[-1][1].reason or (
            "completion" in deployed.heard[-1][1].reason
        )
    causes = [id_ for id_, alarm in deployed.heard if "Ticks of submitter" in alarm.reason]
    assert len(set(causes)) == len(causes) == 2


def test_a_process_that_is_called_often_looks_once_a_minute(deployed: Deployed) -> None:
    """A thousand results in a minute cost no thousand reads."""
    calls: list[str] = []
    controller = deployed.simulated.controller(before=calls.append)
    ticks = Ticks(controller.ledger, controller.records.alarms, clock=deployed.clock)
    ticks.look()
    first = len(calls)
    for _ in range(100):
        ticks.look()
    assert len(calls) == first
    deployed.clock.advance(minutes=1)
    ticks.look()
    assert len(calls) > first


def test_a_note_of_ticks_that_cannot_be_read_is_made_anew(deployed: Deployed) -> None:
    deployed.ticks().came("submitter")
    bucket = deployed.simulated.storage.bucket(deployed.simulated.places.runs_bucket_name)
    bucket.blob("ticks/submitter.json").upload_from_string(b"[")
    deployed.ticks().came("submitter")
    deployed.clock.advance(minutes=4)
    deployed.ticks().came("submitter")
    assert deployed.told() == []


# -- what a deployment comes to --------------------------------------------------------------------


def _asked(deployed: Deployed) -> str:
    deployed.simulated.put_dataset("nan")
    request = msgspec.structs.replace(
        deployed.simulated.request("nan"),
        requested_by=RequestedBy(kind="system", reference="test"),
    )
    return deployed.simulated.controller().submitter.record(request).run.run_id


def test_a_wait_for_quota_that_nobody_asks_for_calls_a_person_once(deployed: Deployed) -> None:
    """No contact is set, so no increase is asked for: a week's wait would end in expiry."""
    run_id = _asked(deployed)
    for _ in range(5):
        deployed.simulated.controller().submitter.run_pass()
        deployed.clock.advance(minutes=1)
    assert deployed.told() == ["wait-needs-a-person"]
    [(_, alarm)] = deployed.heard
    assert (alarm.run_id, alarm.persona) == (run_id, "nan")
    assert "Nobody has asked for an increase" in alarm.reason


def test_retention_takes_the_notes_that_are_old(deployed: Deployed) -> None:
    """They grow with what goes wrong; what lasts is told anew."""
    controller = deployed.simulated.controller()
    deployed.alarms().raise_once("daily-cap", "1", reason="No.")

    def retention() -> Retention:
        return Retention(
            work_bucket=deployed.simulated.storage.bucket(
                deployed.simulated.places.work_bucket_name
            ),
            ledger=controller.ledger,
            alarms=deployed.alarms(),
            keep=timedelta(days=30),
            clock=deployed.clock,
        )

    deployed.clock.advance(days=29)
    assert retention().run() == 0
    deployed.clock.advance(days=2)
    assert retention().run() == 1
    assert controller.ledger.listed("alarms/") == []
