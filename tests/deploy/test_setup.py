"""Keys, certificates and password files, as made on the first start and kept."""

import os
from pathlib import Path

import pytest

from tests.deploy import machine


def openssl(*arguments: str) -> str:
    done = machine.run(["openssl", *arguments], {"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    return done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_certificates_hold_the_names_and_are_the_authoritys(folder: Path) -> None:
    done = machine.setup(folder)
    assert done.returncode == 0, done.stderr
    out = folder / "out"
    for service, own in (("postgres", "DNS:postgres, "), ("gateway", "")):
        certificate = str(out / service / "server.crt")
        openssl(
            "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(out / "authority/ca.crt"), certificate
        )
        names = openssl("x509", "-in", certificate, "-noout", "-ext", "subjectAltName").splitlines()[1].strip()
        wanted = "DNS:study.example.org, IP Address:203.0.113.7, DNS:localhost, IP Address:127.0.0.1"
        assert names == own + wanted
        public = openssl("x509", "-in", certificate, "-noout", "-pubkey")
        assert public == openssl("pkey", "-in", str(out / service / "server.key"), "-pubout")
    usage = openssl("x509", "-in", str(out / "authority/ca.crt"), "-noout", "-text")
    assert "CA:TRUE, pathlen:0" in usage


def test_nobody_but_its_service_can_read_a_file_and_the_authoritys_key_stays_alone(folder: Path) -> None:
    machine.setup(folder)
    uid = int(machine.owner_spec().split(":")[0])
    for path in (folder / "out").glob("*/**/*"):
        assert path.stat().st_mode & 0o077 == 0, path
        assert path.stat().st_uid == (os.geteuid() if path.parent.name == "authority" else uid)
    key = (folder / "out" / "authority" / "ca.key").read_bytes()
    assert [n for n, c in contents(folder / "out").items() if c == key] == ["authority/ca.key"]


def test_a_second_start_keeps_all_but_the_salt(folder: Path) -> None:
    machine.setup(folder)
    first = contents(folder / "out")
    assert machine.setup(folder).returncode == 0
    second = contents(folder / "out")
    del first["gateway/htpasswd"], second["gateway/htpasswd"]
    assert first == second


@pytest.mark.parametrize("lost", ["names", "server.crt", "server.key"])
def test_a_start_that_was_cut_off_is_made_good(folder: Path, lost: str) -> None:
    machine.setup(folder)
    out = folder / "out"
    (out / "postgres" / lost).unlink()
    assert machine.setup(folder).returncode == 0
    public = openssl("x509", "-in", str(out / "postgres/server.crt"), "-noout", "-pubkey")
    assert public == openssl("pkey", "-in", str(out / "postgres/server.key"), "-pubout")


def test_other_names_give_other_certificates_of_the_same_authority(folder: Path) -> None:
    machine.setup(folder)
    first = contents(folder / "out")
    assert machine.setup(folder, LILM_HOST="2001:db8::7 *.example.net").returncode == 0
    second = contents(folder / "out")
    assert first["authority/ca.crt"] == second["authority/ca.crt"]
    certificate = str(folder / "out/gateway/server.crt")
    names = openssl("x509", "-in", certificate, "-noout", "-ext", "subjectAltName")
    assert "IP Address:2001:DB8:0:0:0:0:0:7, DNS:*.example.net" in names


def test_the_gateways_password_is_kept_hashed(folder: Path) -> None:
    machine.setup(folder)
    user, _, kept = (folder / "out/gateway/htpasswd").read_text().strip().partition(":")
    _, kind, salt, _ = kept.split("$")
    assert (user, kind) == ("lilm", "6")
    assert openssl("passwd", "-6", "-salt", salt, machine.GATEWAY_PASSWORD).strip() == kept


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"LILM_PASSWORD": ""}, "LILM_PASSWORD in .env has 0 characters, but must have at least 16"),
        ({"LILM_PASSWORD": "short-Secret"}, "has 12 characters, but must have at least 16"),
        ({"LILM_GATEWAY_PASSWORD": "Secret"}, "LILM_GATEWAY_PASSWORD in .env has 6 characters"),
        ({"LILM_PASSWORD": "Secret with a space"}, "holds a space or a sign that is not ASCII"),
        ({"LILM_HOST": ""}, "LILM_HOST is not set"),
        ({"LILM_HOST": "study.example.org;rm"}, 'LILM_HOST has "study.example.org;rm"'),
    ],
)
def test_what_is_missing_or_weak_is_refused(folder: Path, changed: dict[str, str], says: str) -> None:
    done = machine.setup(folder, **changed)
    assert done.returncode == 1
    assert says in done.stderr
    assert "ecret" not in done.stdout + done.stderr


def test_nothing_secret_is_said(folder: Path) -> None:
    done = machine.setup(folder)
    said = done.stdout + done.stderr
    assert "setup: postgres: DNS:postgres DNS:study.example.org IP:203.0.113.7" in said
    kept = [(folder / "out/postgres" / f"{name}_password").read_text().strip() for name in ("superuser", "reader")]
    assert not any(secret in said for secret in (machine.OWNER_PASSWORD, machine.GATEWAY_PASSWORD, *kept))
