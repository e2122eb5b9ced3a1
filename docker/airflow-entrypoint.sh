#!/bin/sh
# Become the command. Where the environment names the password of Airflow's user `admin`, write it into the
# file that Airflow reads first, and keep it from the command's own environment.
set -eu
if [ -n "${AIRFLOW_ADMIN_PASSWORD:-}" ]; then
  (umask 077 && printf '{"admin": "%s"}\n' "$AIRFLOW_ADMIN_PASSWORD" \
    > "$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE")
  unset AIRFLOW_ADMIN_PASSWORD
fi
exec "$@"
