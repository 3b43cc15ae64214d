# One worker. Needs the data directory of the node and the same configuration.
# Build from the checkout: docker build -f docker/worker.Dockerfile .
FROM python:3.12-slim

WORKDIR /src
COPY . .
RUN pip install --no-cache-dir -c constraints.txt '.[worker,postgresql]' && rm -rf /src/*

RUN useradd --create-home --uid 11112 dicom && mkdir /data && chown dicom /data
USER dicom
WORKDIR /data
VOLUME /data

ENV DICOM_NODE_CONFIG=/etc/dicom-node/dicom-node.toml \
    DICOM_NODE__NODE__DATA_DIR=/data
CMD ["dicom-node", "worker"]
