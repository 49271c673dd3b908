# --- where ---------------------------------------------------------------------------------------------------

variable "project_id" {
  description = "Google Cloud project that everything is created in."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is the id of the project (6 to 30 lower-case letters, digits, hyphens), not its name or number."
  }
}

variable "region" {
  description = "Region of the function, its image and the Scheduler jobs."
  type        = string
  default     = "europe-west1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is a region such as europe-west1, not a zone."
  }
}

variable "firestore_location" {
  description = "Location of the Firestore database; it can never be changed. Empty: the region."
  type        = string
  default     = ""
}

variable "name" {
  description = "Prefix of every name. A second deployment in the same project needs another one."
  type        = string
  default     = "cluster25"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,17}[a-z0-9]$", var.name))
    error_message = "name has 3 to 19 lower-case letters, digits and hyphens (service account ids end at 30)."
  }
}

variable "ingress" {
  description = "Who reaches the function at all: internal-only (Cloud Scheduler and this project's networks) or all (callers still need roles/run.invoker)."
  type        = string
  default     = "internal-only"

  validation {
    condition     = contains(["internal-only", "all"], var.ingress)
    error_message = "ingress is internal-only or all."
  }
}

# --- the connector's settings --------------------------------------------------------------------------------

variable "opencti_url" {
  description = "OPENCTI_URL: address of the OpenCTI platform."
  type        = string

  validation {
    condition     = can(regex("^https://[^ |]+$", var.opencti_url))
    error_message = "opencti_url starts with https://."
  }
}

variable "connector_id" {
  description = "CONNECTOR_ID: the UUID under which OpenCTI knows this connector."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", var.connector_id))
    error_message = "connector_id is a UUID; make one with: uuidgen"
  }
}

variable "cluster25_client_id" {
  description = "CLUSTER25_CLIENT_ID: the client id that the Cluster25 team issued."
  type        = string

  validation {
    condition     = length(trimspace(var.cluster25_client_id)) > 0
    error_message = "cluster25_client_id is empty."
  }
}

variable "cluster25_client_secret_version" {
  description = "Number of the Secret Manager version that holds CLUSTER25_CLIENT_SECRET. A number, so that a deployment is repeatable."
  type        = string
  default     = "1"

  validation {
    condition     = can(regex("^[1-9][0-9]*$", var.cluster25_client_secret_version))
    error_message = "cluster25_client_secret_version is a number, not latest."
  }
}

variable "opencti_token_version" {
  description = "Number of the Secret Manager version that holds OPENCTI_TOKEN."
  type        = string
  default     = "1"

  validation {
    condition     = can(regex("^[1-9][0-9]*$", var.opencti_token_version))
    error_message = "opencti_token_version is a number, not latest."
  }
}

variable "settings" {
  description = "Any of the connector's other settings, by the name of its environment variable."
  type        = map(string)
  default     = {}

  validation {
    condition = length(setsubtract(keys(var.settings), [
      "CLUSTER25_BASE_URL",
      "CLUSTER25_CHUNK_BYTES",
      "CLUSTER25_CHUNK_OBJECTS",
      "CLUSTER25_CREATE_OBSERVABLES",
      "CLUSTER25_IMPORT_START_DATE",
      "CLUSTER25_INDICATOR_TYPES",
      "CLUSTER25_MAX_EXPORT_BYTES",
      "CLUSTER25_MAX_EXPORT_OBJECTS",
      "CLUSTER25_OVERLAP_SEC",
      "CONNECTOR_LOG_LEVEL",
      "CONNECTOR_NAME",
      "CONNECTOR_QUEUE_THRESHOLD",
      "CONNECTOR_SCOPE",
      "OPENCTI_SSL_VERIFY",
    ])) == 0
    error_message = "settings holds a name that is no optional setting; times have variables of their own, secrets belong into Secret Manager."
  }
}

# --- time: budget + 30 < function timeout <= attempt deadline, function timeout <= lease (checked in function.tf) -----

variable "interval_seconds" {
  description = "Seconds from one run to the next; whole minutes that divide an hour, since Cloud Scheduler counts in minutes."
  type        = number
  default     = 600

  validation {
    condition     = contains([60, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800, 3600], var.interval_seconds)
    error_message = "interval_seconds is 60 times a divisor of 60: 300, 600, 900, 1800, ..."
  }
}

variable "run_budget_seconds" {
  description = "CLUSTER25_RUN_BUDGET_SEC: seconds that a run may use before it stops by itself and leaves the rest to the next."
  type        = number
  default     = 480

  validation {
    condition     = var.run_budget_seconds >= 1
    error_message = "run_budget_seconds is at least 1."
  }
}

variable "lease_seconds" {
  description = "CLUSTER25_LEASE_SEC: seconds for which a run that was killed keeps the next one waiting."
  type        = number
  default     = 570
}

variable "function_timeout_seconds" {
  description = "Seconds after which the platform gives up on a run."
  type        = number
  default     = 540

  validation {
    condition     = var.function_timeout_seconds >= 60 && var.function_timeout_seconds <= 1800
    error_message = "function_timeout_seconds lies in 60..1800: Cloud Scheduler waits for 30 minutes at most."
  }
}

variable "attempt_deadline_seconds" {
  description = "Seconds for which Cloud Scheduler waits for an answer."
  type        = number
  default     = 600

  validation {
    condition     = var.attempt_deadline_seconds >= 15 && var.attempt_deadline_seconds <= 1800
    error_message = "attempt_deadline_seconds lies in 15..1800, the limits of Cloud Scheduler."
  }
}

# --- who is told, and when -----------------------------------------------------------------------------------

variable "alert_emails" {
  description = "E-mail addresses that alerts go to."
  type        = list(string)
  default     = []
}

variable "lag_alert_seconds" {
  description = "An alert is raised when OpenCTI is this many seconds behind Cluster25; at least 600."
  type        = number
  default     = 3600
}
