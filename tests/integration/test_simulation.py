"""Whatever happens in whatever order, around whichever call: no promise is broken."""

from support.simulation import explore


def test_no_order_of_events_breaks_a_promise():
    explore(searches=3, steps=30, seed=1)
