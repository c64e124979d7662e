#!/usr/bin/env bash
# shellcheck disable=SC2034 # names are read in deploy/lib
# Makes ech0-tuner in a Google Cloud project, puts right what differs, or takes it away.
#
#   ./deploy.sh --project P [--region R] [--contact MAIL] [--dry-run] [--yes] [--all] [--destroy]
#
# It looks first, prints what it would do and what that costs, and asks. Run again, it changes
# nothing; after an error, it goes on. docs/deploy.md shows it step by step, ADR 12 says why so.
set -euo pipefail

if ((BASH_VERSINFO[0] < 4 || (BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] < 4))); then
  echo "deploy.sh: bash $BASH_VERSION is too old; 4.4 is needed (on a Mac: brew install bash)." >&2
  exit 1
fi

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$ROOT"
BUILD=${DEPLOY_BUILD_DIR:-build/deploy}
STAGED=$BUILD/staged
LOOK=$(mktemp -d)
trap 'rm -rf "$LOOK"' EXIT
# Nothing asks in the middle, and nothing is reported to anybody.
export CLOUDSDK_CORE_DISABLE_PROMPTS=1 CLOUDSDK_CORE_DISABLE_USAGE_REPORTING=1

for library in "$ROOT"/deploy/lib/*.sh; do
  # shellcheck source=/dev/null
  source "$library"
done

usage() {
  cat <<'TEXT'
Usage: ./deploy.sh --project PROJECT_ID [options]

  --project ID     the project, which exists and has billing
  --region R       where functions, buckets and images are (us-central1)
  --contact MAIL   whom alerts and Google's answers about quota go to
  --env FILE       settings (deploy.env, where there is one); see deploy.env.example
  --dry-run        print the plan and stop
  --all            print also what is unchanged
  --yes            do not ask
  --destroy        take everything away but buckets with data; those after a second question
TEXT
}

MODE=apply
SAY_YES='' SHOW_UNCHANGED='' DESTROY='' SETTINGS_FILE=''
while (($#)); do
  case $1 in
  --project | --region | --contact | --env)
    if (($# < 2)); then stop "$1 needs a value." "./deploy.sh --help shows the options."; fi
    case $1 in
    --project) TUNER_PROJECT=$2 ;;
    --region) DEPLOY_REGION=$2 ;;
    --contact) TUNER_CONTACT=$2 ;;
    --env) SETTINGS_FILE=$2 ;;
    esac
    shift
    ;;
  --project=*) TUNER_PROJECT=${1#*=} ;;
  --region=*) DEPLOY_REGION=${1#*=} ;;
  --contact=*) TUNER_CONTACT=${1#*=} ;;
  --env=*) SETTINGS_FILE=${1#*=} ;;
  --dry-run) MODE=plan ;;
  --all) SHOW_UNCHANGED=yes ;;
  --yes) SAY_YES=yes ;;
  --destroy) DESTROY=yes ;;
  --help | -h) usage && exit 0 ;;
  *) stop "$1 is no option." "./deploy.sh --help shows the options." ;;
  esac
  shift
done
if [[ $SETTINGS_FILE && ! -r $SETTINGS_FILE ]]; then
  stop "$SETTINGS_FILE cannot be read." "Copy deploy.env.example there."
fi
if [[ -z $SETTINGS_FILE && -r deploy.env ]]; then SETTINGS_FILE=deploy.env; fi
if [[ $SETTINGS_FILE ]]; then read_settings_file "$SETTINGS_FILE"; fi
settle_settings
DRY_RUN=''
if [[ $MODE == plan ]]; then DRY_RUN=yes; fi

NUMBER=PROJECT_NUMBER BILLING_ACCOUNT=BILLING_ACCOUNT LOOKING='' NOT_LOOKED=() NOTES=()
REGISTRY=$REGION-docker.pkg.dev/$PROJECT/$REPOSITORY
check_python
check_gcloud
if [[ $LOOKING ]]; then check_project; fi
if [[ $DESTROY ]]; then MODE=destroy; fi

declare -A WISH=()
stage_sources
read_wishes
if [[ $LOOKING ]]; then look; fi

if [[ $MODE == destroy ]]; then
  plan_destroy
else
  plan_apis
  plan_accounts
  plan_agents_of_google
  plan_buckets
  plan_topics
  plan_rights topic bucket project account
  plan_repository
  plan_rights repository
  plan_image
  plan_functions
  plan_rights service
  plan_notifications
  plan_subscriptions
  plan_rights subscription
  take_rights all
  plan_ticks
  plan_metrics
  plan_job_logs
  plan_alerts
  plan_dashboard
  plan_budget
fi

say "ech0-tuner in project $PROJECT, region $REGION${DESTROY:+: taking it away}" ""
for note in "${NOT_LOOKED[@]}"; do
  say "Not looked at: $note" "The plan below is that for an empty project." ""
done
print_plan
if [[ -z $DESTROY ]]; then print_costs; fi
for note in "${NOTES[@]}"; do say "" "$note"; done
if [[ $DRY_RUN ]]; then
  say "" "Dry run: nothing was changed."
  exit 0
fi
if [[ $(count_planned create update replace delete) != 0 ]]; then
  say ""
  if [[ -z $SAY_YES ]] && ! asked "Do this?"; then
    say "Nothing was changed."
    exit 1
  fi
  apply_plan
fi
if [[ $DESTROY ]]; then
  destroy_data
  say "" "APIs stay enabled: other things may use them. Logs stay as long as the project keeps them."
  exit 0
fi
say "" "Ready. Drop a file, and follow it with \`TUNER_PROJECT=$PROJECT .venv/bin/tuner runs\`:" \
  "gcloud storage cp local/example/ech0_conversation_memory.json gs://$PREFIX-training-data/ech0/"
