#!/usr/bin/env bash
# Write docker/.env: a random secret for each place that needs one, readable by you alone.
# It never replaces a file: PostgreSQL keeps the passwords that it was first started with.
#   docker/make-env.sh [FILE]
set -euo pipefail
file=${1:-$(dirname "$0")/.env}
random() { head -c "$1" /dev/urandom; }
hex() { random "$1" | od -An -v -tx1 | tr -d ' \n'; }

secrets=""
# Name and bytes. Hexadecimal is safe in URLs, in JSON and in this file.
while read -r name bytes; do
  value=$(hex "$bytes")
  secrets+="$name=$value"$'\n'
done <<'LIST'
POSTGRES_PASSWORD 32
REGISTRY_DB_PASSWORD 32
AIRFLOW_DB_PASSWORD 32
S3_ACCESS_KEY 10
S3_SECRET_KEY 20
VLLM_API_KEY 32
GATEWAY_API_KEY 32
BROKER_PASSWORD 32
AIRFLOW_ADMIN_PASSWORD 12
AIRFLOW_JWT_SECRET 32
AIRFLOW_SECRET_KEY 32
LIST
# Fernet wants exactly this form: 32 bytes in URL-safe base64.
fernet=$(random 32 | base64 | tr '+/' '-_')
secrets+="AIRFLOW_FERNET_KEY=$fernet"

umask 077
set -o noclobber
if ! cat 2>/dev/null > "$file" <<END
# Written by docker/make-env.sh. Airflow's user is admin.
$secrets

# What may be changed; docker/README.md says more. Shares are parts of a GPU's whole memory.
#AIRFLOW_PORT=8080
#GATEWAY_PORT=8800
#S3_PORT=9000
#S3_CONSOLE_PORT=9001
#GENERATOR_GPU=0
#GENERATOR_GPU_SHARE=0.06
#SERVING_GPU=0
#SERVING_GPU_SHARE=0.30
#WORKER_GPU=0
#TRAIN_SLOTS=1
# Several machines (docs/many-machines.md): this one's address in the network of LIFT's machines alone.
#CLUSTER_ADDRESS=10.0.0.1
END
then
  echo "make-env.sh: $file is there already, or its folder cannot be written; it is left as it is" >&2
  exit 1
fi
echo "wrote $file" >&2
