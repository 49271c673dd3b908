#!/usr/bin/env bash
# Deploys the Cluster25 connector to Google Cloud; running it again changes only what differs. See --help.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly ROOT

# --- defaults, the same as Terraform's (tests/deploy compares the two) -------------------------------------
NAME=cluster25
REGION=europe-west1
INGRESS=internal-only
readonly ENTRY_POINT=cluster25_connector
readonly RUNTIME=python313
readonly MEMORY=512Mi
readonly CPU=1
readonly COLLECTION=cluster25_connector
readonly REJECTED_GROUP=rejected
readonly REJECTED_TTL_FIELD=expires_at
readonly HEARTBEAT_SCHEDULE='*/2 * * * *'
readonly FUNCTION_TIMEOUT_SECONDS=540
readonly ATTEMPT_DEADLINE_SECONDS=600
readonly RESERVE_SECONDS=30 # between the end of the budget and the platform's timeout: commit, release, answer
readonly RUN_RETRIES=1
readonly RUN_BACKOFF_SECONDS=60
readonly APIS=(artifactregistry cloudbuild cloudfunctions cloudscheduler firestore iam logging monitoring run
  secretmanager storage)

# --- the connector's settings, from the environment --------------------------------------------------------
: "${CLUSTER25_INTERVAL_SEC:=600}" "${CLUSTER25_RUN_BUDGET_SEC:=480}" "${CLUSTER25_LEASE_SEC:=570}"
readonly REQUIRED_SETTINGS=(OPENCTI_URL CONNECTOR_ID CLUSTER25_CLIENT_ID)
readonly TIME_SETTINGS=(CLUSTER25_INTERVAL_SEC CLUSTER25_RUN_BUDGET_SEC CLUSTER25_LEASE_SEC)
readonly OPTIONAL_SETTINGS=(OPENCTI_SSL_VERIFY CONNECTOR_NAME CONNECTOR_SCOPE CONNECTOR_LOG_LEVEL
  CONNECTOR_QUEUE_THRESHOLD CLUSTER25_BASE_URL CLUSTER25_INDICATOR_TYPES CLUSTER25_IMPORT_START_DATE
  CLUSTER25_OVERLAP_SEC CLUSTER25_CREATE_OBSERVABLES CLUSTER25_CHUNK_OBJECTS CLUSTER25_CHUNK_BYTES
  CLUSTER25_MAX_EXPORT_OBJECTS CLUSTER25_MAX_EXPORT_BYTES)

PROJECT='' FIRESTORE_LOCATION='' MODE=deploy DRY_RUN=no WAIT_SECONDS=120
CLUSTER25_SECRET_ON_STDIN=no OPENCTI_TOKEN_ON_STDIN=no

usage() {
  cat <<'HELP'
Usage: ./deploy.sh --project=ID [flag ...]        deploy, or bring a deployment up to date
       ./deploy.sh --project=ID --destroy         remove all but data and secrets

  --project=ID                Google Cloud project
  --region=REGION             region of the function and its jobs             (europe-west1)
  --firestore-location=PLACE  location of the database, can never be changed  (the region)
  --name=PREFIX               prefix of every name; one for each deployment   (cluster25)
  --ingress=WHO               internal-only, or all: still only callers with
                              roles/run.invoker                               (internal-only)
  --cluster25-secret-stdin    read Cluster25's client secret from standard input, one line
  --opencti-token-stdin       read OpenCTI's token from standard input, one line (the second, if both)
  --wait-seconds=N            how long to wait for the first run's result     (120)
  --dry-run                   print every command for an empty project; run none
  --destroy                   remove jobs, function, images and accounts
  --help                      this text

The connector's settings are environment variables, as everywhere:
  needed    OPENCTI_URL (https), CONNECTOR_ID (a UUID), CLUSTER25_CLIENT_ID
  optional  CONNECTOR_NAME, CLUSTER25_INDICATOR_TYPES, ...: all of the settings table of the README

Secrets are never taken from the environment or a flag. Without the -stdin flags, the newest enabled versions in
Secret Manager are used.

Examples:
  export OPENCTI_URL=https://opencti.example.com CLUSTER25_CLIENT_ID=...
  export CONNECTOR_ID=...                         # from uuidgen, once; keep it
  ./deploy.sh --project=my-project --cluster25-secret-stdin --opencti-token-stdin < two-lines.txt
  ./deploy.sh --project=my-project                # upgrade, with the same settings and flags; secrets stay
HELP
}

main() {
  read_flags "$@"
  derive_names
  if [[ $MODE == destroy ]]; then
    remove_everything_but_data_and_secrets
    return
  fi
  check_settings
  check_times
  read_secrets
  enable_apis
  make_accounts
  make_image_repository
  grant_build_roles
  make_state
  store_secrets
  grant_runtime_roles
  deploy_function
  grant_invoker_role
  schedule_jobs
  show_first_run
}

# --- small things ------------------------------------------------------------------------------------------

die() {
  printf 'deploy.sh: %s\n' "$@" >&2
  exit 1
}

step() { printf '== %s\n' "$*" >&3; }

show() {
  printf 'gcloud' >&3
  printf ' %q' "$@" >&3
  printf '\n' >&3
}

# A gcloud command in this project; a dry run only shows it.
cloud() {
  if [[ $DRY_RUN == yes ]]; then
    show "$@" "--project=$PROJECT"
  else
    gcloud "$@" "--project=$PROJECT" --quiet
  fi
}

# Whether a describe command finds something. Being refused is not the same as not being there.
exists() {
  local problem
  if [[ $DRY_RUN == yes ]]; then
    cloud "$@"
    [[ $MODE == destroy ]] # shown as for an empty project, or for a complete one
    return
  fi
  if problem=$(cloud "$@" 2>&1 >/dev/null); then return 0; fi
  if [[ $problem =~ PERMISSION_DENIED|UNAUTHENTICATED|SERVICE_DISABLED|status=\[40[13]\]|[Cc]redentials ]]; then
    die "gcloud $* failed:" "$problem"
  fi
  return 1
}

# A change of a policy; an account made a moment ago may not be known everywhere yet.
grant() {
  local try
  for try in 1 2 3 4 5; do
    if cloud "$@" >/dev/null; then return; fi
    if ((try < 5)); then sleep 10; fi
  done
  die "gave up: gcloud $*"
}

account() { printf '%s@%s.iam.gserviceaccount.com' "$1" "$PROJECT"; }

# --- what is asked for -------------------------------------------------------------------------------------

read_flags() {
  while (($#)); do
    local flag=${1%%=*} value=''
    if [[ $1 == *=* ]]; then
      value=${1#*=}
    elif [[ $flag =~ ^--(project|region|firestore-location|name|ingress|wait-seconds)$ ]]; then
      value=${2-}
      if (($# > 1)); then shift; fi
    fi
    shift
    case $flag in
      --project) PROJECT=$value ;;
      --region) REGION=$value ;;
      --firestore-location) FIRESTORE_LOCATION=$value ;;
      --name) NAME=$value ;;
      --ingress) INGRESS=$value ;;
      --wait-seconds) WAIT_SECONDS=$value ;;
      --cluster25-secret-stdin) CLUSTER25_SECRET_ON_STDIN=yes ;;
      --opencti-token-stdin) OPENCTI_TOKEN_ON_STDIN=yes ;;
      --dry-run) DRY_RUN=yes ;;
      --destroy) MODE=destroy ;;
      --help | -h) usage && exit 0 ;;
      *) die "unknown flag $flag; see --help" ;;
    esac
  done
  [[ $PROJECT =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] || die "--project=ID is needed (its id, not its name or number)"
  [[ $REGION =~ ^[a-z]+-[a-z]+[0-9]+$ ]] || die "--region is a region such as europe-west1, not a zone"
  [[ $NAME =~ ^[a-z][a-z0-9-]{1,17}[a-z0-9]$ ]] || die "--name has 3 to 19 lower-case letters, digits and hyphens"
  [[ $INGRESS =~ ^(internal-only|all)$ ]] || die "--ingress is internal-only or all"
  [[ $WAIT_SECONDS =~ ^[0-9]+$ ]] || die "--wait-seconds is a number"
}

derive_names() {
  FUNCTION="$NAME-connector"
  RUNTIME_ACCOUNT="$NAME-runtime"
  SCHEDULER_ACCOUNT="$NAME-scheduler"
  BUILD_ACCOUNT="$NAME-build"
  REPOSITORY="$NAME-images"
  DATABASE="$NAME-state"
  RUN_JOB="$NAME-run"
  HEARTBEAT_JOB="$NAME-heartbeat"
  CLIENT_SECRET="$NAME-client-secret"
  OPENCTI_TOKEN_SECRET="$NAME-opencti-token"
  STATE_CONDITION="^;^title=$DATABASE-only;expression=resource.name==\"projects/$PROJECT/databases/$DATABASE\""
  SOURCE_CONDITION='^;^title=function-sources-only;expression=resource.name.startsWith("projects/_/buckets/gcf-v2-sources-")'
}

check_settings() {
  local setting problems=()
  for setting in "${REQUIRED_SETTINGS[@]}"; do
    [[ -n ${!setting-} ]] || problems+=("$setting is not set")
  done
  [[ ${OPENCTI_URL-https://} == https://* ]] || problems+=("OPENCTI_URL must start with https://")
  [[ ${CONNECTOR_ID:-00000000-0000-0000-0000-000000000000} =~ ^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$ ]] ||
    problems+=("CONNECTOR_ID must be a UUID; make one with: uuidgen")
  for setting in "${REQUIRED_SETTINGS[@]}" "${OPTIONAL_SETTINGS[@]}"; do
    [[ ${!setting-} != *['|'$'\n']* ]] || problems+=("$setting must be one line without |")
  done
  if ((${#problems[@]})); then die "${problems[@]}"; fi
}

check_times() {
  local setting problems=()
  for setting in "${TIME_SETTINGS[@]}"; do
    [[ ${!setting} =~ ^[1-9][0-9]*$ ]] || die "$setting=${!setting} is no number of seconds"
  done
  ((CLUSTER25_INTERVAL_SEC % 60 == 0 && 3600 % CLUSTER25_INTERVAL_SEC == 0)) ||
    problems+=("CLUSTER25_INTERVAL_SEC must be whole minutes that divide an hour: 300, 600, 900, ...")
  ((CLUSTER25_RUN_BUDGET_SEC + RESERVE_SECONDS < FUNCTION_TIMEOUT_SECONDS)) ||
    problems+=("CLUSTER25_RUN_BUDGET_SEC + $RESERVE_SECONDS must be less than the function's $FUNCTION_TIMEOUT_SECONDS s")
  ((CLUSTER25_LEASE_SEC >= FUNCTION_TIMEOUT_SECONDS)) ||
    problems+=("CLUSTER25_LEASE_SEC must be at least the function's $FUNCTION_TIMEOUT_SECONDS s")
  if ((${#problems[@]})); then die "${problems[@]}"; fi
}

read_secrets() {
  NEW_CLIENT_SECRET='' NEW_OPENCTI_TOKEN=''
  if [[ $CLUSTER25_SECRET_ON_STDIN == yes ]]; then
    IFS= read -r NEW_CLIENT_SECRET || true # a last line without an end is a line
    [[ -n $NEW_CLIENT_SECRET ]] || die "--cluster25-secret-stdin: standard input has no such line"
  fi
  if [[ $OPENCTI_TOKEN_ON_STDIN == yes ]]; then
    IFS= read -r NEW_OPENCTI_TOKEN || true
    [[ -n $NEW_OPENCTI_TOKEN ]] || die "--opencti-token-stdin: standard input has no such line"
  fi
}

# --- the steps ---------------------------------------------------------------------------------------------

enable_apis() {
  step "APIs"
  cloud services enable "${APIS[@]/%/.googleapis.com}"
}

make_accounts() {
  step "Service accounts: what runs, what calls, what builds"
  make_account "$RUNTIME_ACCOUNT" "Cluster25 connector: runs the function"
  make_account "$SCHEDULER_ACCOUNT" "Cluster25 connector: calls the function"
  make_account "$BUILD_ACCOUNT" "Cluster25 connector: builds the function"
}

make_account() { # id, display name
  exists iam service-accounts describe "$(account "$1")" ||
    cloud iam service-accounts create "$1" --display-name="$2"
}

make_image_repository() {
  step "Image repository"
  exists artifacts repositories describe "$REPOSITORY" --location="$REGION" ||
    cloud artifacts repositories create "$REPOSITORY" --location="$REGION" --repository-format=docker \
      --description="Images that the build of the Cluster25 connector makes"
  cloud artifacts repositories set-cleanup-policies "$REPOSITORY" --location="$REGION" --no-dry-run \
    --policy="$ROOT/terraform/image-cleanup.json" >/dev/null
}

grant_build_roles() {
  local member
  member="serviceAccount:$(account "$BUILD_ACCOUNT")"
  step "Roles of the build"
  grant artifacts repositories add-iam-policy-binding "$REPOSITORY" --location="$REGION" \
    --member="$member" --role=roles/artifactregistry.writer
  # A build has no resource of its own to write logs to.
  grant projects add-iam-policy-binding "$PROJECT" --member="$member" --role=roles/logging.logWriter --condition=None
  # The platform makes the bucket with the first function of the region, so it may not be there yet.
  grant projects add-iam-policy-binding "$PROJECT" --member="$member" --role=roles/storage.objectViewer \
    --condition="$SOURCE_CONDITION"
}

make_state() {
  local verb_and_place=(update) ttl
  step "Firestore: a database of its own, protected, with recovery of seven days"
  exists firestore databases describe --database="$DATABASE" ||
    verb_and_place=(create "--location=${FIRESTORE_LOCATION:-$REGION}")
  cloud firestore databases "${verb_and_place[@]}" --database="$DATABASE" --delete-protection --enable-pitr >/dev/null
  ttl=$(cloud firestore fields ttls list --database="$DATABASE" --collection-group="$REJECTED_GROUP" \
    --format="value(ttlConfig.state)")
  [[ $ttl == *ACTIVE* || $ttl == *CREATING* ]] ||
    cloud firestore fields ttls update "$REJECTED_TTL_FIELD" --database="$DATABASE" \
      --collection-group="$REJECTED_GROUP" --enable-ttl
}

store_secrets() {
  step "Secrets"
  store_secret "$CLIENT_SECRET" "$NEW_CLIENT_SECRET" --cluster25-secret-stdin
  CLIENT_SECRET_VERSION=$STORED_VERSION
  store_secret "$OPENCTI_TOKEN_SECRET" "$NEW_OPENCTI_TOKEN" --opencti-token-stdin
  OPENCTI_TOKEN_VERSION=$STORED_VERSION
}

# Adds the value, if it is a new one; leaves the number of the newest enabled version in STORED_VERSION.
store_secret() { # name, value or nothing, flag that brings a value
  exists secrets describe "$1" || cloud secrets create "$1" --replication-policy=automatic
  find_version "$1"
  if [[ -n $2 && (-z $STORED_VERSION || $2 != "$(cloud secrets versions access "$STORED_VERSION" --secret="$1")") ]]; then
    cloud secrets versions add "$1" --data-file=- < <(printf '%s' "$2") # printf is of the shell: no process list shows it
    find_version "$1"
  fi
  if [[ $DRY_RUN == yes ]]; then STORED_VERSION=1; fi
  [[ -n $STORED_VERSION ]] || die "secret $1 has no enabled version: give it a value with $3"
}

find_version() { # name
  STORED_VERSION=$(cloud secrets versions list "$1" --filter=state:ENABLED --sort-by=~createTime --limit=1 \
    --format="value(name.basename())")
}

grant_runtime_roles() {
  local member secret
  member="serviceAccount:$(account "$RUNTIME_ACCOUNT")"
  step "Roles of the function"
  # Firestore has no policy of its own: a role of the project, narrowed to the one database.
  grant projects add-iam-policy-binding "$PROJECT" --member="$member" --role=roles/datastore.user \
    --condition="$STATE_CONDITION"
  for secret in "$CLIENT_SECRET" "$OPENCTI_TOKEN_SECRET"; do
    grant secrets add-iam-policy-binding "$secret" --member="$member" --role=roles/secretmanager.secretAccessor
  done
}

deploy_function() {
  local flags digest deployed=''
  step "Function"
  mapfile -t flags < <(function_flags)
  digest=$( (printf '%s\n' "${flags[@]}" && source_digest) | sha256sum | cut -c1-40)
  if exists functions describe "$FUNCTION" --region="$REGION"; then
    deployed=$(cloud functions describe "$FUNCTION" --region="$REGION" --format="value(state,labels.deployed)")
  fi
  if [[ $deployed == "ACTIVE"*"$digest" ]]; then
    step "  unchanged: same source, same settings"
  else
    cloud functions deploy "$FUNCTION" --gen2 "${flags[@]}" --source="$ROOT" --update-labels="deployed=$digest"
  fi
  URL=$(cloud functions describe "$FUNCTION" --region="$REGION" --format="value(serviceConfig.uri)")
  if [[ $DRY_RUN == yes ]]; then URL="https://$FUNCTION-example.a.run.app"; fi
  [[ $URL == https://* ]] || die "the function has no address; see: gcloud functions describe $FUNCTION --region=$REGION"
}

# One flag a line. The values of the environment are joined by |, since lists in them have commas.
function_flags() {
  cat <<FLAGS
--region=$REGION
--runtime=$RUNTIME
--entry-point=$ENTRY_POINT
--trigger-http
--no-allow-unauthenticated
--ingress-settings=$INGRESS
--memory=$MEMORY
--cpu=$CPU
--timeout=${FUNCTION_TIMEOUT_SECONDS}s
--min-instances=0
--max-instances=1
--concurrency=1
--serve-all-traffic-latest-revision
--run-service-account=$(account "$RUNTIME_ACCOUNT")
--build-service-account=projects/$PROJECT/serviceAccounts/$(account "$BUILD_ACCOUNT")
--docker-repository=projects/$PROJECT/locations/$REGION/repositories/$REPOSITORY
--set-secrets=CLUSTER25_CLIENT_SECRET=$CLIENT_SECRET:$CLIENT_SECRET_VERSION,OPENCTI_TOKEN=$OPENCTI_TOKEN_SECRET:$OPENCTI_TOKEN_VERSION
--set-env-vars=$(environment)
FLAGS
}

environment() {
  local setting
  printf '^|^STATE_STORE=firestore|FIRESTORE_PROJECT=%s|FIRESTORE_DATABASE=%s|FIRESTORE_COLLECTION=%s' \
    "$PROJECT" "$DATABASE" "$COLLECTION"
  printf '|GOOGLE_CLOUD_PROJECT=%s|LOG_EXECUTION_ID=true' "$PROJECT"
  for setting in "${REQUIRED_SETTINGS[@]}" "${TIME_SETTINGS[@]}" "${OPTIONAL_SETTINGS[@]}"; do
    if [[ -n ${!setting-} ]]; then printf '|%s=%s' "$setting" "${!setting}"; fi
  done
}

# Changes when anything changes that .gcloudignore lets through.
source_digest() {
  cd "$ROOT"
  find main.py requirements.txt cluster25 -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
}

grant_invoker_role() {
  step "Role of the Scheduler account"
  grant run services add-iam-policy-binding "$FUNCTION" --region="$REGION" \
    --member="serviceAccount:$(account "$SCHEDULER_ACCOUNT")" --role=roles/run.invoker
}

schedule_jobs() {
  local minutes=$((CLUSTER25_INTERVAL_SEC / 60)) schedule='0 * * * *'
  step "Scheduler jobs"
  if ((minutes < 60)); then schedule="*/$minutes * * * *"; fi
  schedule_job "$RUN_JOB" "$URL/" "$schedule" "$RUN_RETRIES" "Imports what Cluster25 changed since the last run"
  schedule_job "$HEARTBEAT_JOB" "$URL/heartbeat" "$HEARTBEAT_SCHEDULE" 0 \
    "Shows OpenCTI that the connector is alive, and adopts a reset"
}

# The audience is the address without a path, or Cloud Run answers 401.
schedule_job() { # name, address, schedule, retries, description
  local verb=create
  if exists scheduler jobs describe "$1" --location="$REGION"; then verb=update; fi
  cloud scheduler jobs "$verb" http "$1" --location="$REGION" --uri="$2" --http-method=post --schedule="$3" \
    --time-zone=Etc/UTC --attempt-deadline="${ATTEMPT_DEADLINE_SECONDS}s" --max-retry-attempts="$4" \
    --min-backoff="${RUN_BACKOFF_SECONDS}s" --description="$5" \
    --oidc-service-account-email="$(account "$SCHEDULER_ACCOUNT")" --oidc-token-audience="$URL" >/dev/null
}

# Through Scheduler, as every run after it: what is shown is proof that identity, address and ingress fit together.
show_first_run() {
  local since filter line='' waited=0 outcome pushed rejected lag_seconds message
  since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  filter="resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"$FUNCTION\""
  filter+=" AND jsonPayload.event=\"run\" AND timestamp>=\"$since\""
  step "First run, through Cloud Scheduler"
  cloud scheduler jobs run "$RUN_JOB" --location="$REGION" >/dev/null
  while [[ -z $line ]]; do
    line=$(cloud logging read "$filter" --limit=1 --format="csv[no-heading,separator='|'](jsonPayload.outcome,jsonPayload.pushed,jsonPayload.rejected,jsonPayload.lag_seconds,jsonPayload.message)")
    if [[ $DRY_RUN == yes ]]; then return; fi
    if [[ -n $line ]] || ((waited >= WAIT_SECONDS)); then break; fi
    sleep 5
    waited=$((waited + 5))
  done
  [[ -n $line ]] || { step "  no result within $WAIT_SECONDS s; look again: gcloud logging read '$filter' --project=$PROJECT" && return; }
  IFS='|' read -r outcome pushed rejected lag_seconds message <<<"$line"
  step "  $outcome: pushed $pushed, rejected $rejected, lag ${lag_seconds:-unknown} s. $message"
  [[ $outcome != failed ]] || die "deployed, but the first run failed: $message"
}

# --- the way back ------------------------------------------------------------------------------------------

remove_everything_but_data_and_secrets() {
  local build runtime
  build="serviceAccount:$(account "$BUILD_ACCOUNT")" runtime="serviceAccount:$(account "$RUNTIME_ACCOUNT")"
  step "Removing all but the database $DATABASE and the secrets $CLIENT_SECRET and $OPENCTI_TOKEN_SECRET"
  remove scheduler jobs -- "$RUN_JOB" --location="$REGION"
  remove scheduler jobs -- "$HEARTBEAT_JOB" --location="$REGION"
  remove functions -- "$FUNCTION" --region="$REGION"
  remove artifacts repositories -- "$REPOSITORY" --location="$REGION"
  # Bindings before accounts: those of an account that is gone stay behind as "deleted:".
  revoke "$BUILD_ACCOUNT" projects remove-iam-policy-binding "$PROJECT" --member="$build" \
    --role=roles/logging.logWriter --condition=None
  revoke "$BUILD_ACCOUNT" projects remove-iam-policy-binding "$PROJECT" --member="$build" \
    --role=roles/storage.objectViewer --condition="$SOURCE_CONDITION"
  revoke "$RUNTIME_ACCOUNT" projects remove-iam-policy-binding "$PROJECT" --member="$runtime" \
    --role=roles/datastore.user --condition="$STATE_CONDITION"
  revoke "$RUNTIME_ACCOUNT" secrets remove-iam-policy-binding "$CLIENT_SECRET" --member="$runtime" \
    --role=roles/secretmanager.secretAccessor
  revoke "$RUNTIME_ACCOUNT" secrets remove-iam-policy-binding "$OPENCTI_TOKEN_SECRET" --member="$runtime" \
    --role=roles/secretmanager.secretAccessor
  remove iam service-accounts -- "$(account "$RUNTIME_ACCOUNT")"
  remove iam service-accounts -- "$(account "$SCHEDULER_ACCOUNT")"
  remove iam service-accounts -- "$(account "$BUILD_ACCOUNT")"
}

remove() { # group of commands, --, name and flags
  local group=()
  while [[ $1 != -- ]]; do
    group+=("$1")
    shift
  done
  shift
  if exists "${group[@]}" describe "$@"; then cloud "${group[@]}" delete "$@"; fi
}

revoke() { # account, command
  local account_id=$1
  shift
  if exists iam service-accounts describe "$(account "$account_id")"; then
    cloud "$@" >/dev/null || step "  (was not granted: $account_id)"
  fi
}

exec 3>&1
main "$@"
