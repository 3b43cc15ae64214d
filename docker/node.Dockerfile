# The node without workers: acceptor, stages, pages. Build from the checkout: docker build -f docker/node.Dockerfile .
FROM python:3.12-slim

WORKDIR /src
COPY . .
RUN pip install --no-cache-dir -c constraints.txt '.[embedded,postgresql,genomics]' && rm -rf /src/*

RUN useradd --create-home --uid 11112 dicom && mkdir /data && chown dicom /data
USER dicom
WORKDIR /data
VOLUME /data

ENV DICOM_NODE_CONFIG=/etc/dicom-node/dicom-node.toml \
    DICOM_NODE__NODE__DATA_DIR=/data \
    DICOM_NODE__WEB__HOST=0.0.0.0
EXPOSE 11112 8080
HEALTHCHECK --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/readyz', timeout=5)"]
CMD ["dicom-node", "serve"]
