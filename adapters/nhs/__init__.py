"""The NHS trust's adapter: patient summaries from its FHIR R4 server."""
