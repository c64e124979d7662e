# The four buckets: nobody's but the project's, deleted objects recoverable, the ledger versioned.
# shellcheck shell=bash disable=SC2034 # names are read in the other files

BUCKETS=(training-data work models runs)
SOFT_DELETE_SECONDS=604800

plan_buckets() {
  local bucket rules versioning
  for bucket in "${BUCKETS[@]}"; do
    rules=$ROOT/deploy/lifecycle/$bucket.json
    local settings=(
      --uniform-bucket-level-access --public-access-prevention
      --soft-delete-duration="${SOFT_DELETE_SECONDS}s" --lifecycle-file="${rules#"$ROOT"/}"
      --project="$PROJECT"
    )
    ensure "bucket $PREFIX-$bucket" \
      "uniform=true public=enforced soft-delete=${SOFT_DELETE_SECONDS}s rules=${WISH["rules $bucket"]}" \
      "\$0.02 per GB" \
      gcloud storage buckets create "gs://$PREFIX-$bucket" --location="$REGION" "${settings[@]}" -- \
      gcloud storage buckets update "gs://$PREFIX-$bucket" "${settings[@]}"
    if [[ $bucket == runs ]]; then
      versioning=${HAVE["versioning $PREFIX-$bucket"]:-}
      if [[ $versioning == true ]]; then
        planned unchanged "versioning $PREFIX-$bucket" free
      else
        planned update "versioning $PREFIX-$bucket" free \
          gcloud storage buckets update "gs://$PREFIX-$bucket" --versioning --project="$PROJECT"
      fi
    fi
  done
}
