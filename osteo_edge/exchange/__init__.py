"""Answers in the words of other systems: DICOM objects for an archive, FHIR resources for a record."""
