"""`xsys dataset add SOURCE --option FIELD=VALUE` changes fields of a source, checked by its contract."""

import pytest
from pydantic import ValidationError

from contracts.data import ParquetSource, ScenesSource
from contracts.errors import InvalidRequest
from orchestration.cli.datasets import source_of, with_options


def test_options_become_fields_of_the_source():
    source = with_options(source_of(None, "scenes", on_server=False), ["n=500", "strength=0.8", "confounded=star"])
    assert source == ScenesSource(n=500, strength=0.8, confounded="star")
    assert with_options(ParquetSource(path="x.parquet"), ["image=photo"]).image == "photo"


@pytest.mark.parametrize("option", ["strength=2", "strenght=0.5", "n=many"])
def test_an_unknown_field_or_a_bad_value_is_refused(option):
    with pytest.raises(ValidationError, match=option.partition("=")[0]):
        with_options(ScenesSource(), [option])


def test_an_option_without_a_value_is_refused():
    with pytest.raises(InvalidRequest, match="FIELD=VALUE") as refusal:
        with_options(ScenesSource(), ["n"])
    assert refusal.value.field == "option"
