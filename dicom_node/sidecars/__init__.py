"""Door 2, patients' data: what record and genome say reaches the models that ask for it, or the report says why.

ehr        FHIR resources and HL7 v2 messages -> features, by a declared mapping
genomics   VCF, BCF, gVCF and tables of gene expression -> features; whose they are, a manifest says
matching   whose record belongs to whose images, beyond doubt or not at all
unmatched  the studies whose record a person has to look for
gather     features for the jobs that wait for them, by a deadline
"""
