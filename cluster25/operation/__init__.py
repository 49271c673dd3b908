"""For the person on call: status, doctor, command line, backfill, and the loop of a plain machine."""
