variable "project_id" {
  description = "Google Cloud project that the function runs in."
  type        = string
}

variable "name" {
  description = "Prefix of the metrics' names, as given to the deployment."
  type        = string
  default     = "cluster25"
}

variable "function" {
  description = "Name of the function whose logs are read."
  type        = string
  default     = "cluster25-connector"
}

variable "interval_seconds" {
  description = "Seconds from one run to the next; the alerts count in intervals."
  type        = number
  default     = 600
}

variable "run_budget_seconds" {
  description = "Seconds that a run may use; drawn into the chart of durations."
  type        = number
  default     = 480
}

variable "lag_alert_seconds" {
  description = "An alert is raised when OpenCTI is this many seconds behind Cluster25."
  type        = number
  default     = 3600

  validation {
    condition     = var.lag_alert_seconds >= 600
    error_message = "lag_alert_seconds is at least 600: the lag grows to one interval between two runs."
  }
}

variable "alert_emails" {
  description = "E-mail addresses that alerts go to."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+$", address))])
    error_message = "alert_emails holds something that is no e-mail address."
  }
}
