#include "store/s3/policy.h"

#include <nlohmann/json.hpp>

namespace varve::store::s3 {

std::string policy_of(const Options& o) {
  using json = nlohmann::ordered_json;
  json on_bucket = json::array({"s3:ListBucket"});
  json on_objects = json::array({"s3:GetObject"});
  if (o.as_of) {
    on_bucket.push_back("s3:ListBucketVersions");
    on_objects.push_back("s3:GetObjectVersion");
  } else {
    on_bucket.push_back("s3:ListBucketMultipartUploads");
    for (const char* action : {"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"})
      on_objects.push_back(action);
    if (!o.keep_versions) {
      on_bucket.push_back("s3:GetBucketVersioning");
      on_bucket.push_back("s3:ListBucketVersions");
      on_objects.push_back("s3:DeleteObjectVersion");
    }
    if (!o.lock_mode.empty()) {
      on_bucket.push_back("s3:GetBucketObjectLockConfiguration");
      for (const char* action : {"s3:GetObjectRetention", "s3:PutObjectRetention", "s3:GetObjectVersion"})
        on_objects.push_back(action);
    }
    if (o.legal_hold) {
      on_objects.push_back("s3:GetObjectLegalHold");
      on_objects.push_back("s3:PutObjectLegalHold");
    }
  }
  const std::string partition = o.region.starts_with("cn-")       ? "aws-cn"
                                : o.region.starts_with("us-gov-") ? "aws-us-gov"
                                                                  : "aws";
  const std::string bucket = "arn:" + partition + ":s3:::" + o.bucket;
  json statements = json::array();
  statements.push_back({{"Effect", "Allow"}, {"Action", on_bucket}, {"Resource", bucket}});
  statements.push_back(
      {{"Effect", "Allow"}, {"Action", on_objects}, {"Resource", bucket + "/" + o.prefix + "*"}});
  if (o.sse == "aws:kms" && o.kms_key_id.starts_with("arn:"))
    statements.push_back({{"Effect", "Allow"},
                          {"Action", json::array({"kms:GenerateDataKey", "kms:Decrypt"})},
                          {"Resource", o.kms_key_id}});
  return json{{"Version", "2012-10-17"}, {"Statement", statements}}.dump(2);
}

}  // namespace varve::store::s3
