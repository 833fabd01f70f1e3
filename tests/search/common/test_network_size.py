from search.common.network_size import dropped_text, parameters_text, per_parameter_text


def test_active_parameters_are_told_apart_where_they_are_fewer() -> None:
    assert parameters_text(1_000_000, 250_000) == "1,000,000 (250,000 active)"
    assert parameters_text(1_000_000, 1_000_000) == parameters_text(1_000_000, None) == "1,000,000"
    assert per_parameter_text(5e6, 1_000_000, 250_000) == "5.0 per parameter, 20.0 per active one"
    assert per_parameter_text(5e6, 1_000_000, None) == "5.0 per parameter"


def test_dropped_choices_are_a_share_and_nothing_without_experts() -> None:
    assert dropped_text(0.0125) == "1.25% of the choices of experts dropped"
    assert dropped_text(None) == ""
