# One log line per run (jsonPayload.event = "run") is all that is read; metrics, alerts and dashboard come from it.
locals {
  service_filter = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.function}\""
  run_filter     = "${local.service_filter} AND jsonPayload.event=\"run\""

  numbers = {
    pushed              = { unit = "1", description = "Objects that OpenCTI accepted, per run" }
    rejected            = { unit = "1", description = "Objects that could not be sent, per run" }
    lag_seconds         = { unit = "s", description = "How far OpenCTI is behind Cluster25" }
    duration_seconds    = { unit = "s", description = "How long a run took" }
    skipped_for_seconds = { unit = "s", description = "How long runs have been skipped in a row" }
  }
}

resource "google_logging_metric" "runs" {
  project     = var.project_id
  name        = "${var.name}/runs"
  description = "Runs by outcome"
  filter      = local.run_filter

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "INT64"
    unit         = "1"
    display_name = "${var.name} runs"

    labels {
      key         = "outcome"
      value_type  = "STRING"
      description = "ok, empty, partial, skipped or failed"
    }
  }

  label_extractors = {
    outcome = "EXTRACT(jsonPayload.outcome)"
  }
}

resource "google_logging_metric" "number" {
  for_each = local.numbers

  project         = var.project_id
  name            = "${var.name}/${each.key}"
  description     = each.value.description
  filter          = "${local.run_filter} AND jsonPayload.${each.key}>=0" # only lines that have the number
  value_extractor = "EXTRACT(jsonPayload.${each.key})"

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "DISTRIBUTION"
    unit         = each.value.unit
    display_name = "${var.name} ${each.key}"
  }

  bucket_options {
    exponential_buckets { # up to 2^24: 16 million objects, half a year
      num_finite_buckets = 24
      growth_factor      = 2
      scale              = 1
    }
  }
}

locals {
  # PromQL's names for the metrics: the first slash becomes a colon, everything else an underscore.
  promql   = "logging_googleapis_com:user_${replace(var.name, "-", "_")}"
  selector = "monitored_resource=\"cloud_run_revision\""
  runs     = "${local.promql}_runs"

  # Sum and mean of a number over a window; a distribution is a histogram in PromQL.
  sum  = { for key, _ in local.numbers : key => "sum(increase(${local.promql}_${key}_sum{${local.selector}}[%s]))" }
  mean = { for key, sum in local.sum : key => "${sum} / sum(increase(${local.promql}_${key}_count{${local.selector}}[%s]))" }
}
