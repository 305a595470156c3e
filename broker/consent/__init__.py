"""Directives as other standards write them: HL7 FHIR R4 Consent in and out, ISO/IEC TS 27560 out.

Pure mappings. Refuses, naming the element, whatever it cannot express exactly: what somebody said must not come
to mean more, or less, because it went through a file.
"""
