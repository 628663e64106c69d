import pytest
from pydantic import ValidationError

from services.kit.settings import Settings, load_settings


def test_a_mistyped_variable_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match=r"XSYS_HOEM.*XSYS_HOME"):
        load_settings({"XSYS_HOEM": "/x", "PATH": "/bin"})


def test_the_command_lines_own_variables_are_no_settings():
    assert load_settings({"XSYS_SERVER": "http://127.0.0.1:1", "XSYS_TOKEN": "t"}).port == 8000


def test_a_lease_shorter_than_three_heartbeats_is_refused(monkeypatch):
    monkeypatch.setenv("XSYS_HEARTBEAT", "PT10S")
    monkeypatch.setenv("XSYS_LEASE", "PT20S")
    with pytest.raises(ValidationError, match="XSYS_LEASE"):
        Settings()


def test_the_database_lies_in_the_data_folder_unless_told_otherwise(tmp_path):
    assert Settings(home=tmp_path).resolved_database_url == f"sqlite:///{tmp_path}/xsys.sqlite"
    assert Settings(home=tmp_path, database_url="postgresql://x").resolved_database_url == "postgresql+psycopg://x"


def test_a_secret_does_not_show_itself():
    assert "hunter2" not in repr(Settings(token_key="hunter2"))
