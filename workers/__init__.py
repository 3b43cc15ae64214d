"""The workers: they take one job at a time and turn its series into findings and result objects.

tasks       the Celery task: a job id, nothing else
run_job     lease -> load -> infer -> write -> commit, in one screen
inference   series -> volume -> bundle, in a process of its own -> label map -> measurements
results     findings -> DICOM SEG and SR, read back before they count
"""
