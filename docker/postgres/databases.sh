#!/bin/sh
# Roles and databases of a team's servers. The image runs this once, while its data folder is new; so does any shell that can
# reach a new server as its superuser (PGHOST, PGPORT, PGUSER, PGPASSWORD).
set -eu
: "${PREFECT_DATABASE_PASSWORD:?the password of the role prefect}" "${MLFLOW_DATABASE_PASSWORD:?the password of the role mlflow}"

# psql quotes what it puts in place of :'name', so a password may hold any character.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres \
  --set=prefect_password="$PREFECT_DATABASE_PASSWORD" --set=mlflow_password="$MLFLOW_DATABASE_PASSWORD" <<'SQL'
create role prefect login password :'prefect_password';
create role mlflow login password :'mlflow_password';
create database prefect owner prefect;
create database mlflow owner mlflow;
create database mlflow_auth owner mlflow; -- who may sign in to MLflow: other tables under the same names
revoke connect on database prefect, mlflow, mlflow_auth from public;
SQL
