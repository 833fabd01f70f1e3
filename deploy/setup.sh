#!/bin/sh
# Make the keys, certificates and password files of the other services; what is there and good is kept.
#
# An authority of our own signs one certificate for postgres and one for the gateway, for the names in LILM_HOST.
# Each service finds its files in a folder (a volume) that no other service sees; the authority's key leaves none.
# Runs as root at every `docker compose up`, in postgres' image, which brings openssl.
set -eu
umask 077

OUT=${OUT:-/out}
SECRETS=${SECRETS:-/run/secrets}
POSTGRES_OWNER=${POSTGRES_OWNER:-999:999}       # who runs postgres, in its image
GATEWAY_OWNER=${GATEWAY_OWNER:-101:101}         # who runs nginx, in its image
LILM_OWNER=${LILM_OWNER:-10001:10001}           # who runs lilm-search, in ours
AUTHORITY_DAYS=3650
CERTIFICATE_DAYS=820                            # Apple's systems refuse more
RENEW_SECONDS=$((60 * 86400))

fail() {
    echo "setup: $*" >&2
    exit 1
}

# secret NAME VARIABLE LENGTH: the secret's text, checked
secret() {
    [ -r "$SECRETS/$1" ] || fail "the secret $1 is missing; write $2 into .env"
    value=$(cat "$SECRETS/$1")
    [ ${#value} -ge "$3" ] || fail "$2 in .env has ${#value} characters, but must have at least $3: openssl rand -hex 24"
    [ "$(printf %s "$value" | LC_ALL=C tr -d '!-~')" = "" ] ||
        fail "$2 in .env holds a space or a sign that is not ASCII; take letters and digits: openssl rand -hex 24"
    printf %s "$value"
}

# write FILE: standard input into the file, whole or not at all
write() {
    cat > "$1.new"
    mv "$1.new" "$1"
}

# keep FILE: a random password, made once
keep() {
    [ -s "$1" ] || openssl rand -hex 24 | write "$1"
}

# names_of HOSTS: the certificate's names, one per line: DNS:name or IP:address
names_of() {
    printf '%s\n' "$1" | tr -s ', ' '\n' | while read -r name; do
        case $name in
        '') ;;
        *[!A-Za-z0-9.:_*-]*) fail "LILM_HOST has \"$name\", but takes host names and addresses, parted by spaces" ;;
        *:* | [0-9]*.[0-9]*.[0-9]*.[0-9]*) echo "IP:$name" ;;
        *) echo "DNS:$name" ;;
        esac
    done
}

authority() {
    folder=$OUT/authority
    mkdir -p "$folder"
    if [ -s "$folder/ca.crt" ]; then
        openssl x509 -in "$folder/ca.crt" -noout -checkend "$RENEW_SECONDS" > /dev/null ||
            fail "the authority's certificate ends soon: docs/deploy.md says how to make another"
        return
    fi
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha256 -nodes -days "$AUTHORITY_DAYS" \
        -subj "/CN=lilm-search authority $(openssl rand -hex 4)" \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$folder/ca.key" -out "$folder/ca.crt.new" 2> "$folder/log" || fail "$(cat "$folder/log")"
    mv "$folder/ca.crt.new" "$folder/ca.crt"
}

# good FOLDER NAMES: whether its certificate is ours, for its key and these names, and lasts
good() {
    [ -s "$1/names" ] && [ "$(cat "$1/names")" = "$2" ] &&
        openssl x509 -in "$1/server.crt" -noout -checkend "$RENEW_SECONDS" > /dev/null 2>&1 &&
        openssl verify -CAfile "$OUT/authority/ca.crt" "$1/server.crt" > /dev/null 2>&1 &&
        [ "$(openssl pkey -in "$1/server.key" -pubout 2>&1)" = "$(openssl x509 -in "$1/server.crt" -noout -pubkey)" ]
}

# certificate FOLDER NAMES: a key and a certificate; `names` is written last, so that a start cut off begins anew
certificate() {
    if good "$1" "$2"; then
        return
    fi
    rm -f "$1/names"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha256 -nodes -subj "/CN=lilm-search" \
        -keyout "$1/server.key" -out "$1/request" 2> "$1/log" || fail "$(cat "$1/log")"
    {
        echo "basicConstraints=critical,CA:FALSE"
        echo "keyUsage=critical,digitalSignature"
        echo "extendedKeyUsage=serverAuth"
        echo "subjectAltName=$(printf '%s' "$2" | tr '\n' ',')"
    } > "$1/extensions"
    openssl x509 -req -in "$1/request" -sha256 -days "$CERTIFICATE_DAYS" -set_serial "0x$(openssl rand -hex 16)" \
        -CA "$OUT/authority/ca.crt" -CAkey "$OUT/authority/ca.key" -extfile "$1/extensions" \
        -out "$1/server.crt" 2> "$1/log" || fail "$(cat "$1/log")"
    rm -f "$1/request" "$1/extensions" "$1/log"
    printf '%s\n' "$2" | write "$1/names"
}

# passfile FOLDER USER PASSWORD: a login in the form that libpq reads (PGPASSFILE)
passfile() {
    printf '*:*:*:%s:%s\n' "$2" "$(printf %s "$3" | sed 's/[\\:]/\\&/g')" | write "$1/pgpass"
}

# hand FOLDER OWNER: give the folder to its service, closed to all others
hand() {
    chown -R "$2" "$1"
    chmod -R u=rwX,go= "$1"
}

command -v openssl > /dev/null || fail "this image has no openssl"
[ -n "${LILM_HOST:-}" ] || fail "LILM_HOST is not set; write this machine's name or address into .env"
owner_password=$(secret lilm_password LILM_PASSWORD 16)
gateway_password=$(secret gateway_password LILM_GATEWAY_PASSWORD 12)
names=$(names_of "$LILM_HOST localhost 127.0.0.1")

authority
for service in postgres gateway tables dashboard backups; do
    mkdir -p "$OUT/$service"
    write "$OUT/$service/ca.crt" < "$OUT/authority/ca.crt"
done
certificate "$OUT/postgres" "$(names_of postgres)
$names"
certificate "$OUT/gateway" "$names"

keep "$OUT/postgres/superuser_password"
keep "$OUT/postgres/reader_password"
printf '%s\n' "$owner_password" | write "$OUT/postgres/owner_password"
reader_password=$(cat "$OUT/postgres/reader_password")
passfile "$OUT/tables" lilm "$owner_password"
passfile "$OUT/dashboard" lilm_reader "$reader_password"
passfile "$OUT/backups" lilm_reader "$reader_password"
hashed=$(printf '%s\n' "$gateway_password" | openssl passwd -6 -stdin)
printf '%s:%s\n' "${LILM_GATEWAY_USER:-lilm}" "$hashed" | write "$OUT/gateway/htpasswd"

mkdir -p "$OUT/dumps"
hand "$OUT/postgres" "$POSTGRES_OWNER"
hand "$OUT/backups" "$POSTGRES_OWNER"
hand "$OUT/dumps" "$POSTGRES_OWNER"
hand "$OUT/gateway" "$GATEWAY_OWNER"
hand "$OUT/tables" "$LILM_OWNER"
hand "$OUT/dashboard" "$LILM_OWNER"
for service in postgres gateway; do
    echo "setup: $service: $(tr '\n' ' ' < "$OUT/$service/names")until" \
        "$(openssl x509 -in "$OUT/$service/server.crt" -noout -enddate | cut -d= -f2)"
done
