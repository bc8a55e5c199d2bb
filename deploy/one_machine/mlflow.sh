#!/bin/sh
# MLflow with its runs in PostgreSQL and its files in S3, on this machine only. The addresses are in the environment.
exec mlflow server --host 127.0.0.1 --port "${MLFLOW_PORT:-5000}" --workers 1 \
    --artifacts-destination "${KWCOLOR_SHARED_STORE:?}/mlflow" \
    --allowed-hosts 'localhost,localhost:*,127.0.0.1,127.0.0.1:*'
