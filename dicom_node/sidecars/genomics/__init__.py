"""A genome becomes features.

manifest      whose a sample is
process       starts the reader, a process of its own, and outlives it
reader        closes the sandbox, then opens the file
calls         htslib's records as ours; faults names the line of what is broken
build         in which genome build it is (assembly: the tables), or refused
alleles       variants in their one normal form
scorefile     a polygenic score's weights; scoring counts them; standard gives z against a named reference
panel         ClinVar's word on a site's genes
consequence   bcftools csq on the same genes
expression    tables of counts or TPM
intake        all of it, for one file: refused as a whole, or kept as a document with its features
"""
