# rust:1.95-bookworm
FROM base
COPY cargo /usr/local/bin/cargo
COPY finished /opt/finished
