"""The demonstration: ``phantom`` computes a synthetic chest CT, whose true lungs are known, and writes it as DICOM."""
