"""Stand-ins for Cluster25 and OpenCTI on loopback, and a demo that uses them; never deployed."""
