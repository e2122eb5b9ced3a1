# Every Airflow process and every task, from the same locks as `make setup`:
#   ACCEL=cpu   api-server, dag-processor, triggerer and the jobs that prepare the stack
#   ACCEL=cuda  the GPU worker and the vLLM servers; torch brings the CUDA libraries, so the base image needs none
#
# Base images are pinned by version tag. Their digests could not be looked up where this was written:
# add `@sha256:…` here to pin the bytes too.
FROM python:3.11.14-slim-bookworm

ARG ACCEL=cpu

LABEL org.opencontainers.image.title="LIFT" \
      org.opencontainers.image.description="Documents in an S3 bucket become LoRA adapters: Airflow and its tasks" \
      org.opencontainers.image.licenses="Apache-2.0" \
      lift.accelerator="${ACCEL}"

RUN useradd --uid 10001 --user-group --create-home lift

WORKDIR /opt/lift

# The packages change seldom, the code often: the lock first, with as much of the code as its install needs.
COPY requirements/ requirements/
COPY pyproject.toml ./
COPY lift_core/__init__.py lift_core/
# Compiled now, because the user of the running container cannot write beside the packages.
RUN --mount=type=cache,target=/root/.cache \
    UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy requirements/install.sh "${ACCEL}"

COPY lift_core/ lift_core/
COPY dags/ dags/
COPY plugins/ plugins/
COPY docker/airflow-entrypoint.sh docker/fetch_models.py docker/serve.py docker/

ENV PATH=/opt/lift/.venv/bin:$PATH \
    AIRFLOW_HOME=/var/lib/airflow \
    LIFT_HOME=/var/lib/lift \
    HF_HUB_OFFLINE=1 \
    PYTHONUNBUFFERED=1

# The scheduler forks its tasks after it has imported torch. Asking the CUDA runtime whether there is a GPU
# would spoil CUDA for every fork; asking NVML does not.
ENV PYTORCH_NVML_BASED_CUDA_CHECK=1

# A new named volume takes over owner and mode of the folder it is mounted on. The local settings let the
# scheduler import torch once for all its tasks.
RUN python -m compileall -q lift_core plugins \
    && install -d -o lift -g lift \
       "${AIRFLOW_HOME}" "${AIRFLOW_HOME}/config" "${AIRFLOW_HOME}/logs" \
       "${LIFT_HOME}" "${LIFT_HOME}/models" "${LIFT_HOME}/adapter-cache" \
    && install -m 0644 lift_core/stack/airflow_local_settings.py "${AIRFLOW_HOME}/config/"

# By number, so that a platform can see that it is not root.
USER 10001
WORKDIR /var/lib/lift

# No HEALTHCHECK here: what is healthy depends on the command, so compose.yaml says it for each.
ENTRYPOINT ["/opt/lift/docker/airflow-entrypoint.sh"]
CMD ["airflow", "version"]
