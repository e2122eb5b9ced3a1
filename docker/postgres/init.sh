#!/usr/bin/env bash
# Run once by the postgres image, on an empty volume: a role and a database each for LIFT and Airflow;
# neither may enter the other's. The same as lift_core/stack/postgres.py does for the embedded server.
set -euo pipefail

create() {
  # \getenv: a command line can be read by all.
  PASSWORD=$2 psql -X -v ON_ERROR_STOP=1 -v name="$1" --username postgres --dbname postgres <<'SQL'
\getenv password PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
}

create lift "$REGISTRY_DB_PASSWORD"
create airflow "$AIRFLOW_DB_PASSWORD"
