from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.server.address import is_local, parse_url, resolve, stored_url

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PGPASSWORD", "PGPASSFILE", "PGHOST", "PGHOSTADDR", "PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("LILM_SEARCH_CA", "LILM_SEARCH_PASSWORD_FILE", "LILM_SEARCH_STORAGE_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("postgresql://u@127.0.0.1/d", True),
        ("postgresql://u@127.9.9.9:5433/d", True),
        ("postgresql://u@localhost/d", True),
        ("postgresql://u@[::1]:5432/d", True),
        ("postgresql:///d", True),
        ("postgresql:///d?host=/var/run/postgresql", True),
        ("postgresql://u@localhost.example.org/d", False),
        ("postgresql://u@127.0.0.1.example.org/d", False),
        ("postgresql://u@10.0.0.1/d", False),
        ("postgresql://u@[2001:db8::1]/d", False),
        ("postgresql:///d?host=db.example.org", False),
        ("postgresql://u@127.0.0.1/d?host=db.example.org", False),
        ("postgresql:///d?host=localhost,db.example.org", False),
        ("postgresql://u@localhost/d?hostaddr=10.0.0.1", False),
        ("postgresql://u@db/d?hostaddr=127.0.0.1", False),
    ],
)
def test_what_is_this_machine(url: str, local: bool) -> None:
    assert is_local(parse_url(url)) == local
    assert (resolve(url).query.get("sslmode") is None) == local


def test_a_host_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.org")
    assert not is_local(parse_url("postgresql:///d"))


def test_elsewhere_the_server_must_prove_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    remote = "postgresql://u:p@db.example.org/d"
    monkeypatch.setenv("PGSSLMODE", "disable")  # others' settings don't weaken ours
    query = resolve(remote).query
    assert query["sslmode"] == "verify-full"
    assert Path(str(query["sslrootcert"])).is_file() or query["sslrootcert"] == "system"
    assert resolve(f"{remote}?sslrootcert=/mine.pem").query["sslrootcert"] == "/mine.pem"
    authority = private(tmp_path / "ca.pem", PEM, 0o644)
    monkeypatch.setenv("LILM_SEARCH_CA", str(authority))
    assert resolve(remote).query["sslrootcert"] == str(authority)
    assert resolve(f"{remote}?sslrootcert=/mine.pem").query["sslrootcert"] == "/mine.pem"
    monkeypatch.setenv("LILM_SEARCH_CA", PEM.replace("\n", "\\n"))
    written = Path(str(resolve(remote).query["sslrootcert"]))
    assert written.read_text().strip() == PEM
    assert written.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("LILM_SEARCH_CA", str(tmp_path / "none"))
    with pytest.raises(StorageError, match="must be a certificate's file, or its PEM text"):
        resolve(remote)


@pytest.mark.parametrize("mode", ["allow", "prefer"])
def test_a_mode_that_proves_nothing_is_refused(mode: str) -> None:
    with pytest.raises(StorageError, match=f"sslmode is {mode}, which proves nothing.*sslmode=disable where"):
        resolve(f"postgresql://u:p@db.example.org/d?sslmode={mode}")


def test_a_mode_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(StorageError, match="sslmode is on, but must be verify-full, disable, require, verify-ca"):
        resolve("postgresql://a@db.example.org/x?sslmode=on")


@pytest.mark.parametrize("mode", ["disable", "require", "verify-ca"])
def test_a_mode_that_the_url_says_plainly_is_warned_of(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr("storage.server.address._warn", warned.append)
    query = resolve(f"postgresql://u:p@db.example.org/d?sslmode={mode}").query
    assert query["sslmode"] == mode
    assert query["require_auth"] == "scram-sha-256"  # never the password itself to who knows whom
    assert len(warned) == 1
    assert f"sslmode={mode}: " in warned[0]


def test_secrets_come_from_private_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# a comment\n\npostgresql://u:from-a-file@127.0.0.1/d\n"
    file = private(tmp_path / "box.credential", text)
    assert resolve(f"file:{file}").password == "from-a-file"
    monkeypatch.setenv("LILM_SEARCH_STORAGE_FILE", str(file))
    assert resolve(str(stored_url())).password == "from-a-file"
    password = private(tmp_path / "password", "secret:with/odd@signs\n")
    monkeypatch.setenv("LILM_SEARCH_PASSWORD_FILE", str(password))
    assert resolve("postgresql://u@127.0.0.1/d").password == "secret:with/odd@signs"
    assert resolve("postgresql://u:own@127.0.0.1/d").password == "own"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_that_others_can_read_is_refused(mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = private(tmp_path / "secret", "h:1:d:u:hush-hush-hush", mode)
    cure = rf"{file} holds a secret, but others can read it \(mode {mode:o}\): chmod 600 {file}$"
    with pytest.raises(StorageError, match=cure):
        resolve(f"file:{file}")
    for name in ("LILM_SEARCH_PASSWORD_FILE", "PGPASSFILE"):
        monkeypatch.setenv(name, str(file))
        with pytest.raises(StorageError, match=cure):
            resolve("postgresql://u@127.0.0.1/d")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("text", "says"), [(None, "can't be read: No such file"), ("# only this\n", "holds no secret")]
)
def test_a_missing_secret_is_said(text: str | None, says: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    if text is not None:
        private(file, text)
    with pytest.raises(StorageError, match=says):
        resolve(f"file:{file}")
