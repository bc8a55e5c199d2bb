#!/bin/sh
# Dagster's configuration is the pipeline's own, unless whoever starts the container gives one (as the Helm chart does).
set -eu
: "${DAGSTER_HOME:=$(kwcolor dagster-home)}"
export DAGSTER_HOME
exec "$@"
