# What must be there before anything is looked at: tools, login, project, billing.
# shellcheck shell=bash disable=SC2034 # names are read in the other files

# Older ones do not know a flag that is used here.
GCLOUD_NEEDED=500

# In a dry run a missing need is told, and the plan is that for an empty project.
need() {
  if [[ $MODE == plan ]]; then
    NOT_LOOKED+=("$1")
    LOOKING=''
    return
  fi
  stop "$@"
}

check_python() {
  local candidate
  for candidate in "${PYTHON[0]:-}" "$ROOT/.venv/bin/python" python3.11; do
    if [[ $candidate ]] && "$candidate" -S -c \
      'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      # Nothing but the standard library is used, so nothing else is looked for.
      PYTHON=("$candidate" -S)
      return
    fi
  done
  stop "Python 3.11 was not found: the functions are compiled with the version that runs them." \
    "Install it, or name it: PYTHON=/path/to/python3.11 ./deploy.sh …"
}

check_gcloud() {
  local version account
  if ! command -v gcloud >/dev/null; then
    need "gcloud was not found." "Install it: https://cloud.google.com/sdk/docs/install"
    return
  fi
  version=$(gcloud version --format='value("Google Cloud SDK")' 2>/dev/null) || version=0
  if ((${version%%.*} < GCLOUD_NEEDED)); then
    need "gcloud $version is older than $GCLOUD_NEEDED." "Update it: gcloud components update"
    return
  fi
  account=$(gcloud config get-value account 2>/dev/null) || account=''
  if [[ -z $account || $account == '(unset)' ]]; then
    need "nobody is logged in to gcloud." "Log in: gcloud auth login"
    return
  fi
  LOOKING=yes
}

# The project and who pays for it. Sets NUMBER and BILLING_ACCOUNT.
check_project() {
  local found errors=$LOOK/error
  if ! found=$(gcloud projects describe "$PROJECT" \
    --format='value[separator="|"](projectNumber,lifecycleState)' 2>"$errors"); then
    need "project $PROJECT cannot be read: $(tail -n 1 "$errors")" \
      "Make it: gcloud projects create $PROJECT" \
      "or log in as somebody who may use it: gcloud auth login"
    return
  fi
  NUMBER=${found%%|*}
  if [[ ${found##*|} != ACTIVE ]]; then
    stop "project $PROJECT is being deleted (${found##*|})." \
      "Take it back: gcloud projects undelete $PROJECT"
  fi
  if ! found=$(gcloud billing projects describe "$PROJECT" \
    --format='value[separator="|"](billingEnabled,billingAccountName)' 2>"$errors"); then
    stop "whether $PROJECT has billing cannot be read: $(tail -n 1 "$errors")" \
      "Enable what tells it: gcloud services enable cloudbilling.googleapis.com --project=$PROJECT"
  fi
  if [[ ${found%%|*} != [Tt]rue ]]; then
    stop "project $PROJECT has no billing, so Google makes nothing in it." \
      "Choose an account: gcloud billing accounts list" \
      "and link it: gcloud billing projects link $PROJECT --billing-account=ACCOUNT_ID"
  fi
  BILLING_ACCOUNT=${found##*billingAccounts/}
}
