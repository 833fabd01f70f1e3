"""Where the dashboard listens."""

import pytest

from search.dashboard import Address
from search.errors import SearchError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_this_machine_alone_needs_no_gateway(host: str) -> None:
    assert Address(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "study.example.org", "", "localhost.example.org"])
def test_beyond_it_a_gateway_must_be_promised(host: str) -> None:
    with pytest.raises(SearchError, match=r"must be 127.0.0.1, or stand behind a gateway .* add --behind-gateway"):
        Address(host=host)
    assert Address(host=host, behind_gateway=True).host == host
