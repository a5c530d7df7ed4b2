"""No text shows a password, and every process that needs it can find it."""

import pytest
from mlflow import environment_variables

from analysis.records.address import (
    PASSWORD,
    TOKEN,
    USER,
    WHOLE_ADDRESS,
    split_password,
    with_password,
    without_password,
)
from analysis.records.schema import RecordsError, read_manifest
from analysis.store.mlflow_client import MlflowClient
from pipeline.errors import UserError, first_line


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (USER, PASSWORD, TOKEN, WHOLE_ADDRESS):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:s3cret@tracking.example/api?x=1", "https://tracking.example/api?x=1"),
        ("postgresql+psycopg2://u:p@ss@db:5432/mlflow", "postgresql+psycopg2://db:5432/mlflow"),
        ("postgresql://u:s3/cr?t#x@db/ml", "postgresql://db/ml"),
        ("postgresql://db/ml?user=me&password=s3cret&x=1", "postgresql://db/ml?user=me&password=***&x=1"),
        ("http://host/?access_token=s3cret", "http://host/?access_token=***"),
        ("http://host/?token=s3cret==&x=1", "http://host/?token=***&x=1"),
        (
            "http://h/?pwd=a1&SECRET=b2&apikey=c3&my_credentials=d4",
            "http://h/?pwd=***&SECRET=***&apikey=***&my_credentials=***",
        ),
        (
            "'http://h/?api_key=s3' is no \"http://h/?token=s3\"",
            "'http://h/?api_key=***' is no \"http://h/?token=***\"",
        ),
        ("http://h/?token=s3#x and http://h/?x=1&token=s3 y", "http://h/?token=***#x and http://h/?x=1&token=*** y"),
        ("API request to http://me:s3cret@h:5000/api/2.0 failed", "API request to http://h:5000/api/2.0 failed"),
        ("tracking.uri='mysql://me:s3cret@h/x'", "tracking.uri='mysql://h/x'"),
        ("two: http://a:b@c and http://d:e@f.", "two: http://c and http://f."),
    ],
)
def test_passwords_are_left_out_of_texts(text: str, shown: str) -> None:
    assert without_password(text) == shown
    assert str(UserError(text)) == str(RecordsError(text)) == first_line(ValueError(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/a@b/mlflow.db",
        "http://host:5000/path@home",
        "s3://bucket/a@b?versionId=1",
        "write to me@example.org",
        "see http://host/#/experiments/1/runs?viewStateShareKey=mine",
        "http://host/?order=tokens=3",
        "see http://host and write to:me@example.org",
        "http://host?mail=me@example.org",
        "http://host#me@example.org",
        "http://host/?token&x=5",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert without_password(text) == text
    assert split_password(text) == (text, {})


@pytest.mark.parametrize("name", [PASSWORD, TOKEN])
def test_the_values_of_mlflows_variables_are_left_out(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "s3cret\n" if name == TOKEN else "s3cret")
    assert "s3cret" not in first_line(ValueError("Invalid header value: 'Bearer s3cret\\n'"))


def test_only_a_password_that_could_be_part_of_a_word_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for password, shown in (("f8k2", "said ***"), ("f8k", "said f8k")):
        monkeypatch.setenv(PASSWORD, password)
        assert without_password(f"said {password}") == shown


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_gets_its_password_from_mlflows_own_variables(scheme: str) -> None:
    assert split_password(f"{scheme}://m%40e:s%3Acret@host/x") == (
        f"{scheme}://host/x",
        {USER: "m@e", PASSWORD: "s:cret"},
    )


def test_the_variables_are_those_that_mlflow_reads() -> None:
    variables = (environment_variables.MLFLOW_TRACKING_USERNAME, environment_variables.MLFLOW_TRACKING_PASSWORD)
    assert [variable.name for variable in (*variables, environment_variables.MLFLOW_TRACKING_TOKEN)] == [
        USER,
        PASSWORD,
        TOKEN,
    ]


def test_a_server_with_a_user_alone_keeps_its_whole_address() -> None:
    assert split_password("https://me@host/x") == ("https://host/x", {WHOLE_ADDRESS: "https://me@host/x"})


def test_a_server_with_a_second_secret_keeps_its_whole_address() -> None:
    whole = "https://me:s3cret@host/x?token=other"
    assert split_password(whole) == ("https://host/x?token=***", {WHOLE_ADDRESS: whole})


def test_a_database_gets_its_password_back_only_for_the_same_address(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = "postgresql://me:s3cret@db/ml"
    shown, variables = split_password(whole)
    assert (shown, variables) == ("postgresql://db/ml", {WHOLE_ADDRESS: whole})
    monkeypatch.setenv(WHOLE_ADDRESS, whole)
    assert with_password(shown) == whole
    assert with_password("postgresql://other/ml") == "postgresql://other/ml"


def test_the_client_uses_the_whole_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WHOLE_ADDRESS, "http://me:s3cret@127.0.0.1:9")
    assert MlflowClient("http://127.0.0.1:9").tracking_uri == "http://me:s3cret@127.0.0.1:9"


def test_a_manifest_of_older_code_is_read_without_its_password() -> None:
    row = {"row": "CUT", "paper": "", "keys": {"0": "k"}}
    content = {"question": "?", "rows": [row], "base": ["tracking.uri=postgresql://me:s3cret@db/ml"]}
    manifest = read_manifest({**content, "command": ["seeds=[0]", "tracking.uri=http://me:s3cret@h"]})
    assert manifest.base == ("tracking.uri=postgresql://db/ml",)
    assert manifest.command == ("seeds=[0]", "tracking.uri=http://h")
