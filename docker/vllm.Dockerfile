# vLLM's own image and an entry point. Same version as in requirements/*.in.
# Pinned by version tag, as the digest could not be looked up where this was written.
FROM vllm/vllm-openai:v0.32.0

LABEL org.opencontainers.image.title="LIFT vLLM" \
      org.opencontainers.image.description="OpenAI-compatible server of the question generator or of the LoRA adapters" \
      org.opencontainers.image.licenses="Apache-2.0"

# The number is the same in airflow.Dockerfile: the worker writes the adapters that this reads.
RUN useradd --uid 10001 --user-group --create-home lift

COPY serve.py /opt/lift/serve.py

# HOME holds the caches of vLLM and its compilers.
ENV HOME=/home/lift \
    LIFT_HOME=/var/lib/lift \
    HF_HUB_OFFLINE=1 \
    VLLM_NO_USAGE_STATS=1 \
    DO_NOT_TRACK=1

# By number, so that a platform can see that it is not root.
USER 10001
WORKDIR /home/lift

EXPOSE 8000
# Loading and compiling take minutes the first time.
HEALTHCHECK --start-period=15m --interval=10s --timeout=5s --retries=3 \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]

ENTRYPOINT ["python3", "/opt/lift/serve.py"]
CMD ["serving"]
