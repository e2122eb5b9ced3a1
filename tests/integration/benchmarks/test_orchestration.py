"""The benchmark of a look: what is timed really is an unchanged listing, new objects and their admission."""

from lift_core.benchmarks import orchestration


def test_a_look_is_timed_over_a_registry_that_holds_what_the_listing_has(settings, monkeypatch):
    recorded = []
    record = orchestration.AdapterRegistry.record_arrivals

    def remembered(self, arrivals, recipe):
        recorded.append((len(arrivals), record(self, arrivals, recipe)))
        return recorded[-1][1]

    monkeypatch.setattr(orchestration.AdapterRegistry, "record_arrivals", remembered)
    rows = orchestration.look(settings, 30)
    assert recorded == [(30, 0), (100, 100)]
    assert [row["name"] for row in rows] == [
        "30 documents there: nothing new",
        "30 documents there: 100 new",
        "30 documents there: admission",
        "30 documents there: is there work",
    ]
