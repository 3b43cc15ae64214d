"""Attributes that a result takes over from its source images, by module of PS3.3."""

from __future__ import annotations

# C.7.1.1 Patient, without what describes animals' breeding in detail beyond its sequences.
PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence",
    "SourcePatientGroupIdentificationSequence", "GroupOfPatientsIdentificationSequence",
    "PatientBirthDate", "PatientBirthDateInAlternativeCalendar", "PatientDeathDateInAlternativeCalendar",
    "PatientAlternativeCalendar", "PatientBirthTime", "PatientSex", "ReferencedPatientSequence",
    "ReferencedPatientPhotoSequence", "QualityControlSubject", "OtherPatientIDs", "OtherPatientIDsSequence",
    "OtherPatientNames", "EthnicGroup", "EthnicGroupCodeSequence", "PatientComments",
    "PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription", "PatientBreedCodeSequence",
    "BreedRegistrationSequence", "StrainDescription", "StrainNomenclature", "StrainCodeSequence",
    "StrainAdditionalInformation", "StrainStockSequence", "GeneticModificationsSequence", "ResponsiblePerson",
    "ResponsiblePersonRole", "ResponsibleOrganization", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
)  # fmt: skip

# C.7.1.3, C.7.2.3 Clinical Trial Subject and Study.
CLINICAL_TRIAL = (
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "IssuerOfClinicalTrialProtocolID",
    "OtherClinicalTrialProtocolIDsSequence", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "IssuerOfClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID",
    "IssuerOfClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "IssuerOfClinicalTrialSubjectReadingID",
    "ClinicalTrialProtocolEthicsCommitteeName", "ClinicalTrialProtocolEthicsCommitteeApprovalNumber",
    "ClinicalTrialTimePointID", "IssuerOfClinicalTrialTimePointID", "ClinicalTrialTimePointDescription",
    "ClinicalTrialTimePointTypeCodeSequence", "LongitudinalTemporalOffsetFromEvent",
    "LongitudinalTemporalEventType", "ConsentForClinicalTrialUseSequence",
)  # fmt: skip

# C.7.2.1 General Study.
STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName", "ReferringPhysicianIdentificationSequence", "ConsultingPhysicianName",
    "ConsultingPhysicianIdentificationSequence", "StudyID", "RequestingService", "RequestingServiceCodeSequence",
    "StudyDescription", "ProcedureCodeSequence", "PhysiciansOfRecord", "PhysiciansOfRecordIdentificationSequence",
    "NameOfPhysiciansReadingStudy", "PhysiciansReadingStudyIdentificationSequence", "ReferencedStudySequence",
    "ReasonForPerformedProcedureCodeSequence",
)  # fmt: skip

# C.7.2.2 Patient Study.
PATIENT_STUDY = (
    "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence", "PatientAge", "PatientSize", "PatientWeight",
    "PatientBodyMassIndex", "MeasuredAPDimension", "MeasuredLateralDimension", "PatientSizeCodeSequence",
    "MedicalAlerts", "Allergies", "SmokingStatus", "PregnancyStatus", "LastMenstrualDate", "PatientState",
    "Occupation", "AdditionalPatientHistory", "AdmissionID", "IssuerOfAdmissionIDSequence", "ServiceEpisodeID",
    "IssuerOfServiceEpisodeIDSequence", "ServiceEpisodeDescription", "PatientSexNeutered", "ReasonForVisit",
    "ReasonForVisitCodeSequence",
)  # fmt: skip

# C.12.1 SOP Common: of the patient's data rather than of the object.
COMMON = ("TimezoneOffsetFromUTC", "LongitudinalTemporalInformationModified")

EVERY_RESULT = PATIENT + CLINICAL_TRIAL + STUDY + PATIENT_STUDY + COMMON

# Type 2: present even where the source has none.
TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID",
)  # fmt: skip

# Where a lost letter could name another patient, study or order.
IDENTIFYING = ("PatientName", "PatientID", "IssuerOfPatientID", "OtherPatientIDs", "AccessionNumber", "StudyID")

# C.7.3.1 General Series: of the body part and the order, for results that are images on the source's grid. Laterality
# (0020,0060) is left out: the sides that a segmentation holds stand with its segments.
IMAGE_SERIES = ("BodyPartExamined", "RequestAttributesSequence")

# C.17.2 Referenced Request, as far as the images' Request Attributes tell it.
REQUEST = (
    "StudyInstanceUID", "ReferencedStudySequence", "AccessionNumber", "IssuerOfAccessionNumberSequence",
    "PlacerOrderNumberImagingServiceRequest", "OrderPlacerIdentifierSequence",
    "FillerOrderNumberImagingServiceRequest", "OrderFillerIdentifierSequence", "RequestedProcedureID",
    "RequestedProcedureDescription", "RequestedProcedureCodeSequence", "ReasonForTheRequestedProcedure",
    "ReasonForRequestedProcedureCodeSequence",
)  # fmt: skip
REQUEST_TYPE_2 = (
    "ReferencedStudySequence", "AccessionNumber", "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest", "RequestedProcedureID", "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
)  # fmt: skip

# Who acquired the images, for Contributing Equipment.
EQUIPMENT = (
    "Manufacturer", "InstitutionName", "InstitutionAddress", "StationName", "InstitutionalDepartmentName",
    "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions",
)  # fmt: skip

# What highdicom needs to know of a source image; of a frame of a multi-frame object its number, too.
IMAGE = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "FrameOfReferenceUID",
    "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod", "ReferencedFrameNumber",
    "PatientOrientation",
)  # fmt: skip
